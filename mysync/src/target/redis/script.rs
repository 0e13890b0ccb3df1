//! The scripts that change rows and cursors.
//!
//! A script stops at the first command that fails, so the cursor, moved last, never stands ahead of the rows.
//!
//! Redis refuses a script for want of memory only at its first write, and only if that one could need memory: a DEL there
//! would let everything after it grow past `maxmemory`. So a command that could need memory, and changes nothing or is due
//! anyway, comes first where rows are set; where rows are only deleted, DEL comes first, so that they can make room.
//!
//! A hash is written over, and then the fields that are left over are deleted, so that it never vanishes in between: in a
//! cluster, a key that is not there may not be made while its slot moves.
//! 4,096 columns are 8,192 arguments, more than Lua unpacks at once, so a wide hash is set in several calls.

/// In place of a count: the row is gone.
pub(super) const DELETED: i64 = 0;

/// In place of a count: one argument follows, the row as a string.
pub(super) const STRING: i64 = 1;

/// The code of the scripts' error when the cursor is not where the step begins.
pub(super) const CURSOR_MOVED: &str = "CURSORMOVED";

/// Sets the row `key` to the `count` arguments from `at` on; it expires after `ttl` seconds, '0' for never.
macro_rules! set_row {
    () => {
        r"
local function set_row(key, at, count, ttl)
  local last = at + count - 1
  if count == 1 then
    redis.call('SET', key, ARGV[at])
  else
    local first_end = math.min(at + 1999, last)
    local added = redis.pcall('HSET', key, unpack(ARGV, at, first_end))
    if type(added) == 'table' then
      if string.find(added.err, 'WRONGTYPE', 1, true) then
        redis.call('DEL', key)
      end
      added = redis.call('HSET', key, unpack(ARGV, at, first_end))
    end
    for first = at + 2000, last, 2000 do
      added = added + redis.call('HSET', key, unpack(ARGV, first, math.min(first + 1999, last)))
    end
    local was_there = added * 2 ~= count
    if redis.call('HLEN', key) * 2 ~= count then
      was_there = true
      local kept = {}
      for name = at, last, 2 do
        kept[ARGV[name]] = true
      end
      for _, name in ipairs(redis.call('HKEYS', key)) do
        if not kept[name] then
          redis.call('HDEL', key, name)
        end
      end
    end
    if was_there and ttl == '0' then
      redis.call('PERSIST', key)
    end
  end
  if ttl ~= '0' then
    redis.call('EXPIRE', key, ttl)
  end
end
"
    };
}

/// One step of a server alone. KEYS: the cursor's, then one a row. ARGV: the cursor before (empty for none), the cursor
/// after, 1 where any row is set, seconds after which rows expire (0 for never), then for each row how many arguments
/// follow (0 delete, 1 a string, else names and values of a hash) and those.
pub(super) const STEP: &str = concat!(
    set_row!(),
    r"
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then
  return redis.error_reply('CURSORMOVED the cursor stands at ' .. (found == '' and 'nothing' or found))
end
if ARGV[3] == '1' then
  redis.call('SETRANGE', KEYS[1], 0, '')
end
local at = 5
for row = 2, #KEYS do
  local count = tonumber(ARGV[at])
  if count == 0 then
    redis.call('DEL', KEYS[row])
  else
    set_row(KEYS[row], at + 1, count, ARGV[4])
  end
  at = at + 1 + count
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"
);

/// One row of a cluster. KEYS: the row's, and that of its version. ARGV: the version, seconds after which the row expires (0
/// for never), seconds for which the version of a deleted row is kept, how many arguments follow (as above) and those.
///
/// The version of a deleted row is kept negative. Versions are compared as texts, since numbers of Lua are exact only up to 53
/// bits. A version whose row is not there counts for nothing, unless it says so itself or rows expire: a row can be lost
/// without its version while a slot moves.
pub(super) const ROW: &str = concat!(
    set_row!(),
    r"
local held = redis.call('GET', KEYS[2])
if held then
  local gone = string.sub(held, 1, 1) == '-'
  if gone then
    held = string.sub(held, 2)
  end
  local is_newer = #held > #ARGV[1] or (#held == #ARGV[1] and held > ARGV[1])
  if is_newer and (gone or ARGV[2] ~= '0' or redis.call('EXISTS', KEYS[1]) == 1) then
    return 0
  end
end
local count = tonumber(ARGV[4])
if count == 0 then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], '-' .. ARGV[1], 'EX', ARGV[3])
  return 1
end
if ARGV[2] == '0' then
  redis.call('SET', KEYS[2], ARGV[1])
else
  redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2] + ARGV[3])
end
set_row(KEYS[1], 5, count, ARGV[2])
return 1
"
);

/// One cursor of a cluster. KEYS: the cursor's. ARGV: the cursor before (empty for none), the cursor after.
pub(super) const CURSOR: &str = r"
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then
  return redis.error_reply('CURSORMOVED the cursor stands at ' .. (found == '' and 'nothing' or found))
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
";
