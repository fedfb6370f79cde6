// Cryptographic hashes and authenticated ciphers.
const crypto = @import("std").crypto;

pub fn main() u8 {
    var bytes: [2048]u8 = undefined;
    for (&bytes, 0..) |*byte, i| byte.* = @truncate(i * 7);
    var sum: u8 = 0;
    for (0..60) |round| {
        bytes[round] +%= 1;
        inline for (.{ crypto.hash.Blake3, crypto.hash.sha2.Sha512, crypto.hash.Md5, crypto.hash.Sha1 }) |Hash| {
            var digest: [Hash.digest_length]u8 = undefined;
            Hash.hash(&bytes, &digest, .{});
            sum +%= digest[0];
        }
        inline for (.{ crypto.aead.chacha_poly.ChaCha20Poly1305, crypto.aead.aes_gcm.Aes128Gcm }) |Cipher| {
            var secret: [bytes.len]u8 = undefined;
            var tag: [Cipher.tag_length]u8 = undefined;
            Cipher.encrypt(&secret, &tag, &bytes, "", @splat(1), @splat(2));
            sum +%= tag[0] +% secret[9];
        }
    }
    return sum;
}
