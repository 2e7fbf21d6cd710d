// An encrypted room with a user of another client, whose ID is the argument: each reads the other.

import assert from "node:assert/strict";

import { newClient, say, scenario, until } from "./client.mjs";

await scenario(async () => {
    const bot = process.argv[2];
    const alice = await newClient("alice");
    const algorithm = { algorithm: "m.megolm.v1.aes-sha2" };
    const { room_id: room } = await alice.createRoom({
        invite: [bot],
        initial_state: [{ type: "m.room.encryption", state_key: "", content: algorithm }],
    });
    await until("the bot in the room", () => {
        return alice.getRoom(room)?.getMember(bot)?.membership === "join";
    });
    const question = await say(alice, room, "do you read me?");
    const answer = await until("answer", () => {
        const events = alice.getRoom(room).getLiveTimeline().getEvents();
        return events.find((event) => event.getSender() === bot && event.getContent().body);
    });
    assert.ok(answer.isEncrypted());
    assert.equal(answer.getContent().body, "you said: do you read me?");
    assert.equal((await alice.fetchRoomEvent(room, question)).type, "m.room.encrypted");
});
