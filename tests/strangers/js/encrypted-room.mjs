// Two users in an encrypted room, then a third device, which gets the keys of later messages.

import assert from "node:assert/strict";

import {
    logIn,
    newClient,
    read,
    register,
    roomOf,
    say,
    scenario,
    start,
    until,
} from "./client.mjs";

await scenario(async () => {
    const alice = await newClient("alice");
    const bobsAccount = await register("bob");
    const bob = await start(bobsAccount);
    const room = await roomOf([alice, bob], { encrypted: true });

    const question = await say(alice, room, "do you read me?");
    await read(bob, room, question, "do you read me?");
    const stored = await alice.fetchRoomEvent(room, question);
    assert.equal(stored.type, "m.room.encrypted");
    assert.equal(stored.content.body, undefined);
    const answer = await say(bob, room, "loud and clear");
    await read(alice, room, answer, "loud and clear");

    const phone = await start(await logIn(bobsAccount));
    const id = bob.getUserId();
    await until("Bob's phone among his devices", async () => {
        const devices = await alice.getCrypto().getUserDeviceInfo([id]);
        return devices.get(id)?.has(phone.getDeviceId());
    });
    const later = await say(alice, room, "both of you?");
    await read(bob, room, later, "both of you?");
    await read(phone, room, later, "both of you?");
});
