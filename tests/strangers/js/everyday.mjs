// What a client does all day, apart from encryption: each change is seen by somebody else.

import assert from "node:assert/strict";

import { ClientEvent } from "matrix-js-sdk/lib/client.js";

import {
    eventually,
    logIn,
    newClient,
    read,
    register,
    roomOf,
    say,
    scenario,
    see,
    start,
    until,
} from "./client.mjs";

await scenario(async () => {
    const account = await register("alice");
    const alice = await start(account, { crypto: false });
    const phone = await start(await logIn(account), { crypto: false });
    const bob = await newClient("bob", { crypto: false });
    assert.equal((await alice.whoami()).device_id, alice.getDeviceId());
    await eventually(async () => {
        const { devices } = await alice.getDevices();
        const ids = new Set(devices.map((device) => device.device_id));
        assert.deepEqual(ids, new Set([alice.getDeviceId(), phone.getDeviceId()]));
    });
    const room = await roomOf([alice, bob], { name: "all day" });
    const [alices, bobs] = [alice.getRoom(room), bob.getRoom(room)];
    const [aliceId, bobId] = [alice.getUserId(), bob.getUserId()];
    await until("the room's name", () => bobs.name === "all day");

    const message = await say(alice, room, "good morning");
    await read(bob, room, message, "good morning");
    await bob.sendTyping(room, true, 60_000);
    await until("typing", () => alices.getMember(bobId).typing);
    await bob.sendTyping(room, false, 0);
    await until("end of typing", () => !alices.getMember(bobId).typing);
    await bob.sendReadReceipt(bobs.findEventById(message));
    await until("receipt", () => alices.getEventReadUpTo(bobId, true) === message);

    const relation = { rel_type: "m.annotation", event_id: message, key: "👍" };
    const reacted = await bob.sendEvent(room, "m.reaction", { "m.relates_to": relation });
    const reaction = reacted.event_id;
    await see(alice, room, reaction);
    await eventually(async () => {
        const { events } = await alice.relations(room, message, "m.annotation", "m.reaction");
        assert.deepEqual(events.map((event) => event.getId()), [reaction]);
    });
    const edited = { msgtype: "m.text", body: "good evening" };
    await alice.sendMessage(room, {
        ...edited,
        "m.new_content": edited,
        "m.relates_to": { rel_type: "m.replace", event_id: message },
    });
    await until("edit", () => bobs.findEventById(message).getContent().body === "good evening");
    const regretted = await say(bob, room, "oh no");
    await read(alice, room, regretted, "oh no");
    await bob.redactEvent(room, regretted);
    await until("redaction", () => alices.findEventById(regretted).isRedacted());

    const heard = new Promise((found) => {
        phone.on(ClientEvent.ToDeviceEvent, (event) => {
            if (event.getType() === "org.example.ping") found(event.getContent());
        });
    });
    const toPhone = new Map([[phone.getDeviceId(), { word: "ping" }]]);
    await bob.sendToDevice("org.example.ping", new Map([[aliceId, toPhone]]));
    assert.deepEqual(await heard, { word: "ping" });

    await alice.setPresence({ presence: "online", status_msg: "at work" });
    await until("presence", () => bob.getUser(aliceId)?.presenceStatusMsg === "at work");
    await alice.setAccountDataRaw("org.example.colour", { colour: "green" });
    await until("account data at the phone", () => {
        return phone.getAccountData("org.example.colour")?.getContent().colour === "green";
    });
    await alice.setRoomTag(room, "m.favourite", { order: 0.5 });
    await until("tag at the phone", () => phone.getRoom(room).tags["m.favourite"]?.order === 0.5);
    await alice.setDisplayName("Alice of Earth");
    await until("display name", () => bobs.getMember(aliceId).name === "Alice of Earth");
    await until("the user directory", async () => {
        const { results } = await bob.searchUserDirectory({ term: aliceId });
        return results.some((user) => user.user_id === aliceId);
    });

    const space = await roomOf([alice], { creation_content: { type: "m.space" } });
    await alice.sendStateEvent(space, "m.space.child", { via: ["localhost"] }, room);
    await eventually(async () => {
        const { rooms } = await alice.getRoomHierarchy(space);
        assert.deepEqual(rooms.map((each) => each.room_id), [space, room]);
    });

    // Signed out from the other device: its token is of no use any more.
    await phone.logout(true);
    await eventually(() => assert.rejects(phone.whoami(), { errcode: "M_UNKNOWN_TOKEN" }));
});
