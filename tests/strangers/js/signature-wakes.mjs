// Alice's laptop signs Bob's keys. Her phone learns of it from a long poll that nothing else ends.
//
// Polls last longer than the scenario may take, so a poll that is not woken fails it. Nobody comes or
// goes in between: presence would wake polls too.

import { RequestType, UserId } from "@matrix-org/matrix-sdk-crypto-wasm";

import {
    WITHIN,
    asleep,
    crossSign,
    logIn,
    newClient,
    register,
    roomOf,
    scenario,
    start,
    stop,
    until,
} from "./client.mjs";

await scenario(async () => {
    const account = await register("alice");
    const made = {};
    const quiet = { pollTimeout: 10 * WITHIN, disablePresence: true };
    const options = { ...quiet, secretKey: () => made.key.privateKey };
    const laptop = await start(account, options);
    await crossSign(laptop);
    await laptop.getCrypto().bootstrapSecretStorage({
        createSecretStorageKey: async () => {
            made.key = await laptop.getCrypto().createRecoveryKeyFromPassphrase();
            return made.key;
        },
        setupNewSecretStorage: true,
    });
    const bob = await newClient("bob", quiet);
    await crossSign(bob);
    await roomOf([laptop, bob], { encrypted: true });

    // The phone signs itself with the key from secret storage.
    const phone = await start(await logIn(account), options);
    await phone.getCrypto().userHasCrossSigningKeys(phone.getUserId(), true);
    await phone.getCrypto().bootstrapCrossSigning({});
    const [bobsId, crypto] = [new UserId(bob.getUserId()), laptop.getCrypto()];
    for (const client of [laptop, phone]) {
        const bobs = bob.getUserId();
        await until("Bob's keys", () => client.getCrypto().userHasCrossSigningKeys(bobs));
    }
    // It changes nothing any more: the polls of those who stay have only the signature to wait for.
    stop(bob);

    await asleep(phone);
    const identity = await crypto.olmMachine.getIdentity(bobsId);
    const request = await identity.verify();
    if (request.type !== RequestType.SignatureUpload) throw new Error(`a request ${request.type}`);
    await crypto.outgoingRequestProcessor.makeOutgoingRequest(request);
    await until("Bob verified at the phone", async () => {
        const status = await phone.getCrypto().getUserVerificationStatus(bob.getUserId());
        return status.isCrossSigningVerified();
    });
});
