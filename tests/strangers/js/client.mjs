// Clients of matrix-js-sdk with its crypto, made strict: a failed request or a wait without an end
// fails the scenario.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { format } from "node:util";

import * as sdk from "matrix-js-sdk";

export const baseUrl = process.env.HOMESERVER;
// In milliseconds, for the whole scenario. It detects a server that hangs, and is shorter than the
// limit of the program.
export const WITHIN = 90_000;
const end = Date.now() + WITHIN;
const clients = [];
const serverErrors = [];

// The SDK's log is long. Its end is shown when a scenario fails. Parts of the SDK know no logger but
// the console.
const lines = [];
const logger = { getChild: () => logger };
for (const level of ["trace", "debug", "log", "info", "warn", "error"]) {
    console[level] = logger[level] = (...words) => lines.push(format(...words));
}

/** Run a scenario, stop its clients and end the process: with status 1 if the scenario failed. */
export async function scenario(run) {
    let status = 0;
    const timer = AbortSignal.timeout(WITHIN);
    const late = new Promise((_, fail) => {
        timer.addEventListener("abort", () => fail(new Error(`no end in ${WITHIN} ms`)));
    });
    try {
        await Promise.race([run(), late]);
        assert.deepEqual(serverErrors, []);
    } catch (error) {
        process.stderr.write(`${lines.slice(-50).join("\n")}\n${format(error)}\n`);
        status = 1;
    }
    for (const client of clients) client.stopClient();
    process.exit(status);
}

function createClient(options = {}) {
    const client = sdk.createClient({ baseUrl, logger, fetchFn, ...options });
    // Of its long polls: when the one that is open was sent, in milliseconds.
    client.polledAt = null;

    /** Fetch; remember errors of the server, which the SDK hides by trying again. */
    async function fetchFn(...request) {
        const isPoll = /\/sync[?]/.test(String(request[0]));
        if (isPoll) client.polledAt = Date.now();
        try {
            const response = await fetch(...request);
            if (response.status >= 500) serverErrors.push(`${response.status} ${response.url}`);
            return response;
        } finally {
            if (isPoll) client.polledAt = null;
        }
    }

    return client;
}

/** Wait until a client's long poll has been open for a while: then it has nothing new. */
export async function asleep(client) {
    await until("quiet poll", () => client.polledAt && Date.now() - client.polledAt > 1000);
}

/** Wait until `look` returns something; `what` names it in the error. */
export async function until(what, look) {
    for (;;) {
        const found = await look();
        if (found) return found;
        assert.ok(Date.now() < end - 1000, `no ${what}`);
        await sleep(50);
    }
}

/** Repeat a check until it passes: for data that one worker writes and another serves. */
export async function eventually(check) {
    let failure;
    await until("success", () =>
        check().then(
            () => true,
            (error) => {
                failure = error;
                return false;
            },
        ),
    ).catch(() => {
        throw failure;
    });
}

/** Register NAME-SOMETHING as a client does: the first request asks for the stages. */
export async function register(name) {
    const userName = `${name}-${randomBytes(4).toString("hex")}`;
    const password = randomBytes(16).toString("hex");
    const anonymous = createClient();
    const body = { username: userName, password };
    const session = await anonymous.registerRequest(body).then(
        () => assert.fail("registered without a stage"),
        (error) => error.data.session,
    );
    const auth = { type: "m.login.dummy", session };
    return { ...(await anonymous.registerRequest({ ...body, auth })), password };
}

/** Log a user in on a further device. */
export async function logIn(user) {
    const answer = await createClient().loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: user.user_id },
        password: user.password,
    });
    return { ...answer, password: user.password };
}

/**
 * Start a client for a device and wait for its first sync.
 *
 * `crypto: false` leaves encryption out. `secretKey` is a function that returns the key of secret
 * storage. `slidingSync` makes the object of that name from the client. Others are startClient's.
 */
export async function start(device, { crypto = true, secretKey, slidingSync, ...options } = {}) {
    const client = createClient({
        userId: device.user_id,
        deviceId: device.device_id,
        accessToken: device.access_token,
        timelineSupport: true,
        verificationMethods: ["m.sas.v1"],
        cryptoCallbacks: {
            getSecretStorageKey: async ({ keys }) => [Object.keys(keys)[0], secretKey()],
        },
    });
    client.password = device.password;
    clients.push(client);
    // Node has no IndexedDB: keys stay in memory.
    if (crypto) await client.initRustCrypto({ useIndexedDB: false });
    await client.startClient({
        initialSyncLimit: 20,
        threadSupport: true,
        slidingSync: slidingSync?.(client),
        ...options,
    });
    await until("first sync", () => client.isInitialSyncComplete());
    // Of one upload, Synapse stores the device before its one-time keys. A client that encrypts in
    // between finds no key, and leaves the device out.
    if (crypto) await until("one-time keys", async () => oneTimeKeys(client));
    return client;
}

/** How many one-time keys the server has of a client's device. */
async function oneTimeKeys(client) {
    const answer = await client.http.authedRequest("POST", "/keys/upload", undefined, {});
    return answer.one_time_key_counts.signed_curve25519 ?? 0;
}

/** Register a user and start a client for it. */
export async function newClient(name, options) {
    return start(await register(name), options);
}

/** Stop a client's requests, so that it can change nothing any more. */
export function stop(client) {
    clients.splice(clients.indexOf(client), 1);
    client.stopClient();
}

/** Create a room of the first client which all others join; `encrypted` turns encryption on. */
export async function roomOf([owner, ...others], { encrypted = false, ...options } = {}) {
    const algorithm = { algorithm: "m.megolm.v1.aes-sha2" };
    const { room_id: roomId } = await owner.createRoom({
        preset: "private_chat",
        invite: others.map((client) => client.getUserId()),
        initial_state: encrypted
            ? [{ type: "m.room.encryption", state_key: "", content: algorithm }]
            : [],
        ...options,
    });
    for (const client of others) {
        await until("invite", () => client.getRoom(roomId)?.getMyMembership() === "invite");
        await client.joinRoom(roomId);
    }
    for (const client of [owner, ...others]) {
        await until("everybody's membership", () => {
            const joined = client.getRoom(roomId)?.getJoinedMemberCount();
            return joined === others.length + 1;
        });
        if (encrypted) {
            await until("encryption", () => client.getCrypto().isEncryptionEnabledInRoom(roomId));
        }
    }
    return roomId;
}

/** Send a text; returns the ID of the event. */
export async function say(client, roomId, text, threadId = null) {
    const content = { msgtype: "m.text", body: text };
    return (await client.sendMessage(roomId, threadId, content)).event_id;
}

/** Wait until a client has an event in a room's timelines, decrypted if need be. */
export async function see(client, roomId, eventId) {
    return until(`event ${eventId} at ${client.getUserId()}`, () => {
        const event = client.getRoom(roomId)?.findEventById(eventId);
        const clear = event?.getClearContent() && !event.isDecryptionFailure();
        return event?.isEncrypted() && !clear ? null : event;
    });
}

/** Wait until a client reads a text that another one sent. */
export async function read(client, roomId, eventId, text) {
    assert.equal((await see(client, roomId, eventId)).getContent().body, text);
}

/** Make cross-signing keys; the server asks for the password again. */
export async function crossSign(client) {
    await client.getCrypto().bootstrapCrossSigning({
        authUploadDeviceSigningKeys: async (request) => {
            const identifier = { type: "m.id.user", user: client.getUserId() };
            const session = await request(null).then(
                () => null,
                (error) => error.data.session,
            );
            if (session === null) return;
            await request({
                type: "m.login.password",
                identifier,
                password: client.password,
                session,
            });
        },
    });
}
