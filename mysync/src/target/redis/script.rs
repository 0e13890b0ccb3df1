//! The script that applies one step.

/// In place of a count: the row is gone.
pub(super) const DELETED: i64 = 0;

/// In place of a count: one argument follows, the row as a string.
pub(super) const STRING: i64 = 1;

/// The code of the script's error when the cursor is not where the step begins.
pub(super) const CURSOR_MOVED: &str = "CURSORMOVED";

/// KEYS: the cursor's, then one a row. ARGV: the cursor before (empty for none), the cursor after, then for each row how
/// many arguments follow (0 delete, 1 a string, else names and values of a hash) and those.
///
/// The SETRANGE changes nothing. Redis refuses a script for want of memory only at its first write, and only if that one
/// could need memory: a DEL there would let everything after it grow past `maxmemory`.
///
/// 4,096 columns are 8,192 arguments, more than Lua unpacks at once, so a wide hash is set in several calls.
pub(super) const APPLY: &str = r"
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then
  return redis.error_reply('CURSORMOVED the cursor stands at ' .. (found == '' and 'nothing' or found))
end
redis.call('SETRANGE', KEYS[1], 0, '')
local at = 3
for row = 2, #KEYS do
  local count = tonumber(ARGV[at])
  if count == 1 then
    redis.call('SET', KEYS[row], ARGV[at + 1])
  else
    redis.call('DEL', KEYS[row])
    for first = at + 1, at + count, 2000 do
      redis.call('HSET', KEYS[row], unpack(ARGV, first, math.min(first + 1999, at + count)))
    end
  end
  at = at + 1 + count
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
";
