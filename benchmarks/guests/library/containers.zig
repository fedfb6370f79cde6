// Hash maps, formatting, JSON and sorting.
const std = @import("std");

const text =
    \\{"a":[1,2,3.5,{"b":"text\n","c":null}],"d":{"e":[true,false,"x"]},"f":-12345}
;
var arena: [8 << 20]u8 = undefined;

pub fn main() !u8 {
    var sum: u64 = 0;
    for (0..6) |round| {
        var fixed = std.heap.FixedBufferAllocator.init(&arena);
        const allocator = fixed.allocator();
        var numbers = std.AutoHashMap(u64, u64).init(allocator);
        for (0..3000) |i| try numbers.put(i *% 0x9e3779b97f4a7c15 >> 50, i);
        var entries = numbers.iterator();
        while (entries.next()) |entry| sum +%= entry.value_ptr.*;
        var names = std.StringHashMap(u64).init(allocator);
        for (0..2000) |i| {
            const name = try std.fmt.allocPrint(allocator, "key{d}-{x}", .{ i, i * 31 });
            try names.put(name, i);
            sum +%= names.get(name).?;
        }
        for (0..100) |_| {
            const parsed = try std.json.parseFromSlice(std.json.Value, allocator, text, .{});
            sum +%= parsed.value.object.count();
            parsed.deinit();
        }
        const sorted = try allocator.alloc(u32, 4000);
        inline for (.{ std.sort.block, std.sort.pdq }) |sort| {
            for (sorted, 0..) |*each, i| each.* = @truncate((i + round) *% 2654435761);
            sort(u32, sorted, {}, std.sort.asc(u32));
            sum +%= sorted[7];
        }
    }
    return @truncate(sum);
}
