// Verification by emoji: of a new device by an older one, then of another user in a room.

import assert from "node:assert/strict";

import { CryptoEvent } from "matrix-js-sdk/lib/crypto-api/CryptoEvent.js";
import { VerificationPhase } from "matrix-js-sdk/lib/crypto-api/verification.js";

import {
    crossSign,
    logIn,
    newClient,
    register,
    roomOf,
    scenario,
    start,
    until,
} from "./client.mjs";

/** Compare the emoji of a request at both ends, and wait until both are done. */
async function compareEmoji(client, makeRequest, other) {
    const asked = new Promise((found) => {
        other.once(CryptoEvent.VerificationRequestReceived, found);
    });
    const ours = await makeRequest(client.getCrypto());
    const theirs = await asked;
    await theirs.accept();
    await until("readiness", () => ours.phase === VerificationPhase.Ready);
    await ours.startVerification("m.sas.v1");
    await until("start", () => theirs.verifier && ours.verifier);
    const finished = [ours, theirs].map(({ verifier }) => verifier.verify());
    const compared = [];
    for (const { verifier } of [ours, theirs]) {
        compared.push(await until("emoji", () => verifier.getShowSasCallbacks()));
    }
    assert.deepEqual(compared[0].sas.emoji, compared[1].sas.emoji);
    assert.equal(compared[0].sas.emoji.length, 7);
    await Promise.all(compared.map((sas) => sas.confirm()));
    await Promise.all(finished);
    await until("end", () => [ours, theirs].every(({ phase }) => phase === VerificationPhase.Done));
}

await scenario(async () => {
    const account = await register("alice");
    const laptop = await start(account);
    await crossSign(laptop);
    const phone = await start(await logIn(account));
    const [id, phoneId] = [laptop.getUserId(), phone.getDeviceId()];
    const crypto = phone.getCrypto();
    await until("the phone among the devices", async () => {
        const status = await laptop.getCrypto().getDeviceVerificationStatus(id, phoneId);
        assert.ok(!status?.crossSigningVerified);
        return status;
    });

    await compareEmoji(phone, () => crypto.requestOwnUserVerification(), laptop);
    await until("cross-signed phone", async () => {
        const status = await laptop.getCrypto().getDeviceVerificationStatus(id, phoneId);
        return status.crossSigningVerified;
    });
    // The secrets come from the laptop, from device to device.
    await until("the secrets at the phone", async () => {
        const { privateKeysCachedLocally: keys } = await crypto.getCrossSigningStatus();
        return keys.masterKey && keys.selfSigningKey && keys.userSigningKey;
    });

    const bob = await newClient("bob");
    await crossSign(bob);
    const room = await roomOf([laptop, bob], { encrypted: true, is_direct: true });
    const [alicesView, bobsView] = [
        [laptop, bob.getUserId()],
        [bob, id],
    ];
    for (const [client, user] of [alicesView, bobsView]) {
        await until("the other's keys", () => client.getCrypto().userHasCrossSigningKeys(user));
        const status = await client.getCrypto().getUserVerificationStatus(user);
        assert.ok(!status.isCrossSigningVerified());
    }
    await compareEmoji(laptop, (from) => from.requestVerificationDM(bob.getUserId(), room), bob);
    for (const [client, user] of [alicesView, bobsView, [phone, bob.getUserId()]]) {
        await until(`${user} verified at ${client.getUserId()}`, async () => {
            const status = await client.getCrypto().getUserVerificationStatus(user);
            return status.isCrossSigningVerified();
        });
    }
});
