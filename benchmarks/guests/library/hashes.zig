// Hash functions that are not for cryptography.
const hash = @import("std").hash;

pub fn main() u8 {
    var bytes: [4096]u8 = undefined;
    for (&bytes, 0..) |*byte, i| byte.* = @truncate(i * 7);
    var sum: u64 = 0;
    for (0..300) |seed| {
        bytes[seed] +%= 1;
        sum +%= hash.Wyhash.hash(seed, &bytes) +% hash.XxHash64.hash(seed, &bytes);
        sum +%= hash.Crc32.hash(&bytes) +% hash.Adler32.hash(&bytes);
        sum +%= hash.Murmur2_64.hash(&bytes) +% hash.CityHash64.hash(&bytes);
        sum +%= hash.Fnv1a_64.hash(&bytes);
    }
    return @truncate(sum);
}
