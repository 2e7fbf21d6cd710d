// OpenID: a service asks the server whose token it was given, as Element Call's and widgets' do.

import assert from "node:assert/strict";

import { baseUrl, newClient, scenario } from "./client.mjs";

async function userOf(token) {
    const url = new URL("/_matrix/federation/v1/openid/userinfo", baseUrl);
    url.searchParams.set("access_token", token);
    const response = await fetch(url);
    return [response.status, await response.json()];
}

await scenario(async () => {
    const alice = await newClient("alice", { crypto: false });
    const token = await alice.getOpenIdToken();
    assert.equal(token.token_type, "Bearer");
    assert.equal(token.matrix_server_name, "localhost");
    assert.ok(token.expires_in > 0);
    assert.deepEqual(await userOf(token.access_token), [200, { sub: alice.getUserId() }]);
    const [status, error] = await userOf("of-nobody");
    assert.deepEqual([status, error.errcode], [401, "M_UNKNOWN_TOKEN"]);
    // It opens nothing else.
    const headers = { Authorization: `Bearer ${token.access_token}` };
    const whoami = await fetch(new URL("/_matrix/client/v3/account/whoami", baseUrl), { headers });
    assert.equal(whoami.status, 401);
});
