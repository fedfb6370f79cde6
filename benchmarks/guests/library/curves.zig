// Signatures on elliptic curves.
const sign = @import("std").crypto.sign;

pub fn main() !u8 {
    var sum: u8 = 0;
    for (1..4) |seed| {
        inline for (.{ sign.Ed25519, sign.ecdsa.EcdsaSecp256k1Sha256 }) |Scheme| {
            const pair = try Scheme.KeyPair.generateDeterministic(@splat(@as(u8, @intCast(seed))));
            const signature = try pair.sign("hello", null);
            try signature.verify("hello", pair.public_key);
            sum +%= signature.toBytes()[3];
        }
    }
    return sum;
}
