// Media: upload, download with a token, thumbnail, and none of it without a token.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { crc32, deflateSync } from "node:zlib";

import { newClient, roomOf, scenario, see } from "./client.mjs";

/** Return a PNG of random pixels, which do not shrink. */
function picture(width, height) {
    const part = (name, data) => {
        const body = Buffer.concat([Buffer.from(name), data]);
        const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
        length.writeUInt32BE(data.length);
        sum.writeUInt32BE(crc32(body));
        return Buffer.concat([length, body, sum]);
    };
    const header = Buffer.alloc(13);
    header.writeUInt32BE(width, 0);
    header.writeUInt32BE(height, 4);
    // Eight bits for each of red, green and blue.
    header.set([8, 2], 8);
    const rows = Array.from({ length: height }, () => {
        return Buffer.concat([Buffer.alloc(1), randomBytes(3 * width)]);
    });
    return Buffer.concat([
        Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
        part("IHDR", header),
        part("IDAT", deflateSync(Buffer.concat(rows))),
        part("IEND", Buffer.alloc(0)),
    ]);
}

await scenario(async () => {
    const alice = await newClient("alice", { crypto: false });
    const bob = await newClient("bob", { crypto: false });
    const room = await roomOf([alice, bob]);
    const bytes = picture(320, 240);
    assert.ok((await alice.getMediaConfig(true))["m.upload.size"] > bytes.length);

    const { content_uri: uri } = await alice.uploadContent(bytes, {
        name: "Zwölf Boxkämpfer.png",
        type: "image/png",
    });
    const sent = await alice.sendMessage(room, { msgtype: "m.image", body: "picture", url: uri });
    const shown = (await see(bob, room, sent.event_id)).getContent().url;
    assert.equal(shown, uri);

    const headers = { Authorization: `Bearer ${bob.getAccessToken()}` };
    const url = (...size) => bob.mxcUrlToHttp(shown, ...size, false, true, true);
    const whole = await fetch(url(undefined, undefined, undefined), { headers });
    assert.equal(whole.status, 200);
    assert.equal(whole.headers.get("content-type"), "image/png");
    assert.match(whole.headers.get("content-disposition"), /Zw%C3%B6lf%20Boxk%C3%A4mpfer\.png/);
    assert.ok(bytes.equals(Buffer.from(await whole.arrayBuffer())));
    const small = await fetch(url(32, 32, "crop"), { headers });
    assert.equal(small.status, 200);
    assert.match(small.headers.get("content-type"), /^image\//);
    assert.ok((await small.arrayBuffer()).byteLength < bytes.length);
    assert.equal((await fetch(url(32, 32, "crop"))).status, 401);
});
