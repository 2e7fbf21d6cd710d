// A new device reads old messages from the backup of keys, opened with secret storage.

import assert from "node:assert/strict";

import {
    crossSign,
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
    const made = {};
    const laptop = await start(account, { secretKey: () => made.key.privateKey });
    const bob = await newClient("bob");
    await crossSign(laptop);
    await laptop.getCrypto().bootstrapSecretStorage({
        createSecretStorageKey: async () => {
            made.key = await laptop.getCrypto().createRecoveryKeyFromPassphrase();
            return made.key;
        },
        setupNewSecretStorage: true,
        setupNewKeyBackup: true,
    });
    assert.ok(await laptop.getCrypto().isSecretStorageReady());
    const version = await until("backup", () => laptop.getCrypto().getActiveSessionBackupVersion());

    const room = await roomOf([bob, laptop], { encrypted: true });
    const old = await say(bob, room, "of yesterday");
    await read(laptop, room, old, "of yesterday");
    await until("key in the backup", async () => {
        const { count } = await laptop.http.authedRequest("GET", "/room_keys/version");
        return count > 0;
    });
    await laptop.logout(true);

    const phone = await start(await logIn(account), { secretKey: () => made.key.privateKey });
    assert.equal((await phone.getCrypto().getKeyBackupInfo()).version, version);
    await phone.getCrypto().loadSessionBackupPrivateKeyFromSecretStorage();
    const restored = await phone.getCrypto().restoreKeyBackup();
    assert.equal(restored.imported, restored.total);
    assert.ok(restored.total > 0);
    await read(phone, room, old, "of yesterday");
    await see(bob, room, old);
});
