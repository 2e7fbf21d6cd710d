// Sliding sync: rooms, live messages, encryption, typing, receipts and account data come through it.

import { SlidingSync } from "matrix-js-sdk/lib/sliding-sync.js";

import { newClient, read, roomOf, say, scenario, until } from "./client.mjs";

// In milliseconds: how long a request waits for news.
const POLL = 20_000;
const LIST = { ranges: [[0, 9]], timeline_limit: 10, required_state: [["*", "*"]] };

function slidingSync(client) {
    return new SlidingSync(client.baseUrl, new Map([["all", LIST]]), LIST, client, POLL);
}

await scenario(async () => {
    const alice = await newClient("alice", { slidingSync });
    const bob = await newClient("bob");
    const room = await roomOf([bob, alice], { encrypted: true });

    const question = await say(bob, room, "do you slide?");
    await read(alice, room, question, "do you slide?");
    const answer = await say(alice, room, "down the list");
    await read(bob, room, answer, "down the list");

    await bob.sendTyping(room, true, 60_000);
    const bobThere = () => alice.getRoom(room).getMember(bob.getUserId());
    await until("typing", () => bobThere().typing);
    await bob.sendTyping(room, false, 0);
    await until("end of typing", () => !bobThere().typing);

    await bob.sendReadReceipt(bob.getRoom(room).findEventById(answer));
    const readBy = () => alice.getRoom(room).getEventReadUpTo(bob.getUserId(), true);
    await until("receipt", () => readBy() === answer);

    await alice.setAccountDataRaw("org.example.colour", { colour: "green" });
    await until("account data", () => {
        return alice.getAccountData("org.example.colour")?.getContent().colour === "green";
    });

    // A room that is new to the connection, and one that its user leaves.
    const second = await roomOf([bob, alice], { name: "second" });
    await until("second room", () => alice.getRoom(second).name === "second");
    await bob.kick(second, alice.getUserId(), "enough");
    await until("end of it", () => alice.getRoom(second).getMyMembership() === "leave");
});
