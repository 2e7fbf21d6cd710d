// Threads: replies, the list of threads, counts for each thread, receipts in a thread, relations.

import assert from "node:assert/strict";

import { ReceiptType } from "matrix-js-sdk/lib/@types/read_receipts.js";
import { NotificationCountType } from "matrix-js-sdk/lib/models/room.js";

import { eventually, newClient, read, roomOf, say, scenario, until } from "./client.mjs";

await scenario(async () => {
    const alice = await newClient("alice", { crypto: false });
    const bob = await newClient("bob", { crypto: false });
    const room = await roomOf([alice, bob]);
    const [alices, bobs] = [alice.getRoom(room), bob.getRoom(room)];

    const root = await say(alice, room, "root");
    await read(bob, room, root, "root");
    // With this experiment the server counts only replies in threads that a user subscribes to.
    if (await alice.doesServerSupportUnstableFeature("org.matrix.msc4306")) {
        const path = `/rooms/${room}/thread/${encodeURIComponent(root)}/subscription`;
        const prefix = "/_matrix/client/unstable/io.element.msc4306";
        await alice.http.authedRequest("PUT", path, undefined, {}, { prefix });
    }
    // As a client does that opens a thread to reply.
    const opened = bobs.createThread(root, bobs.findEventById(root), [], true);
    await until("opened thread", () => opened.initialEventsFetched);
    const first = await say(bob, room, "first", root);
    const second = await say(bob, room, "second", root);
    const outside = await say(bob, room, "outside");
    await read(alice, room, outside, "outside");
    for (const there of [alices, bobs]) {
        const who = there.myUserId;
        await until(`thread of two at ${who}`, () => there.getThread(root)?.length === 2);
        await until("its last reply", () => there.getThread(root).replyToEvent?.getId() === second);
        assert.ok(!there.getThread(root).findEventById(outside));
    }

    await eventually(async () => {
        const { events } = await alice.relations(room, root, "m.thread", "m.room.message");
        assert.deepEqual(new Set(events.map((e) => e.getId())), new Set([first, second]));
        const { chunk } = await bob.createThreadListMessagesRequest(room, null);
        assert.deepEqual(
            chunk.map((e) => [e.event_id, e.unsigned["m.relations"]["m.thread"].count]),
            [[root, 2]],
        );
    });

    // Bob's replies are unread in the thread, and a receipt there leaves the room's own count alone.
    const unread = () => [
        alices.getThreadUnreadNotificationCount(root, NotificationCountType.Total),
        alices.getRoomUnreadNotificationCount(NotificationCountType.Total),
    ];
    await until("two unread in the thread, one outside", () => String(unread()) === "2,1");
    await alice.sendReadReceipt(alices.getThread(root).findEventById(second), ReceiptType.Read);
    await until("none unread in the thread", () => String(unread()) === "0,1");
    await until("receipt in the thread", () => {
        return bobs.getThread(root).getEventReadUpTo(alice.getUserId()) === second;
    });
});
