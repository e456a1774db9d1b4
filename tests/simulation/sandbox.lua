-- What a script sees besides Lua itself: `redis`, `cjson`, and globals that cannot be made by accident.
-- Called once with the two Python functions behind redis.call and redis.pcall; returns a compiler: it turns
-- a script's text into a function (number of keys, keys..., arguments...) that gives back its reply, flattened.
local invoke, attempt, refuse = ...

-- An array reply arrives as nil followed by its items: nothing else a command answers starts with nil.
local function finish(first, ...)
    if first == nil then return {...} end
    return first
end

local redis = {
    call = function(...) return finish(invoke(...)) end,
    pcall = function(...) return finish(attempt(...)) end,
    error_reply = function(text)
        if string.sub(text, 1, 1) == "-" then text = string.sub(text, 2) end
        if not string.find(text, " ", 1, true) then text = "ERR " .. text end
        return {err = text}
    end,
    status_reply = function(text) return {ok = text} end,
    log = function() end,
    setresp = function() end,
    replicate_commands = function() return true end,
    LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
}

-- cjson, as far as scripts use it: the same spelling of numbers, empty tables as objects, null as a userdata.
local cjson = {null = newproxy()}
local escapes = {['"'] = '\\"', ["\\"] = "\\\\", ["/"] = "\\/", ["\b"] = "\\b", ["\f"] = "\\f",
                 ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t"}

local function quote(text)
    return '"' .. string.gsub(text, '[%c"\\/\127]', function(c)
        return escapes[c] or string.format("\\u%04x", string.byte(c))
    end):gsub("%z", "\\u0000") .. '"'
end

local function number(value)
    if value ~= value or value == math.huge or value == -math.huge then
        error("Cannot serialise number: must not be NaN or Inf")
    end
    return string.format("%.14g", value)
end

-- The length of an array, or nil when the table has to be an object.
local function array_length(value)
    local longest, items = 0, 0
    for key in pairs(value) do
        if type(key) ~= "number" or key < 1 or key ~= math.floor(key) then return nil end
        longest, items = math.max(longest, key), items + 1
    end
    if longest > 10 and longest > items * 2 then error("Cannot serialise table: excessively sparse array") end
    return items > 0 and longest or nil
end

local encode

local function encode_table(value)
    local parts, length = {}, array_length(value)
    if length then
        for i = 1, length do parts[i] = encode(value[i]) end
        return "[" .. table.concat(parts, ",") .. "]"
    end
    for key, item in pairs(value) do
        local kind = type(key)
        if kind ~= "string" and kind ~= "number" then
            error("Cannot serialise " .. kind .. ": table key must be a number or string")
        end
        local name = kind == "number" and '"' .. number(key) .. '"' or quote(key)
        parts[#parts + 1] = name .. ":" .. encode(item)
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

function encode(value)
    local kind = type(value)
    if kind == "string" then return quote(value) end
    if kind == "number" then return number(value) end
    if kind == "boolean" then return tostring(value) end
    if kind == "table" then return encode_table(value) end
    if value == nil or value == cjson.null then return "null" end
    error("Cannot serialise " .. kind .. ": type not supported")
end

local decode_value
local plain = {b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/"}

local function utf8(code)
    if code < 0x80 then return string.char(code) end
    if code < 0x800 then return string.char(0xC0 + math.floor(code / 64), 0x80 + code % 64) end
    if code < 0x10000 then
        return string.char(0xE0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
    end
    return string.char(0xF0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64,
                       0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
end

local function decode_escape(text, at)
    local c = string.sub(text, at, at)
    if plain[c] then return plain[c], at + 1 end
    local code = c == "u" and tonumber(string.match(text, "^%x%x%x%x", at + 1) or "", 16)
    if not code then error("Expected value but found invalid escape code") end
    local low = code >= 0xD800 and code < 0xDC00 and string.match(text, "^\\u([dD][c-fC-F]%x%x)", at + 5)
    if low then
        return utf8(0x10000 + (code - 0xD800) * 1024 + tonumber(low, 16) - 0xDC00), at + 11
    end
    return utf8(code), at + 5
end

local function decode_string(text, at)
    local parts = {}
    while true do
        local stop = string.find(text, '["\\]', at)
        if not stop then error("Expected value but found unexpected end of string") end
        parts[#parts + 1] = string.sub(text, at, stop - 1)
        if string.byte(text, stop) == 34 then return table.concat(parts), stop + 1 end
        parts[#parts + 1], at = decode_escape(text, stop + 1)
    end
end

local function skip(text, at) return string.find(text, "[^ \t\r\n]", at) or #text + 1 end

local function decode_members(text, at, close, read)
    local result, index = {}, 0
    at = skip(text, at)
    if string.sub(text, at, at) == close then return result, at + 1 end
    while true do
        index = index + 1
        at = read(result, index, at)
        at = skip(text, at)
        local c = string.sub(text, at, at)
        if c == close then return result, at + 1 end
        if c ~= "," then error("Expected comma or end of container") end
        at = skip(text, at + 1)
    end
end

local words = {["true"] = true, ["false"] = false, ["null"] = cjson.null}

function decode_value(text, at)
    at = skip(text, at)
    local c = string.sub(text, at, at)
    if c == '"' then return decode_string(text, at + 1) end
    if c == "[" then
        return decode_members(text, at + 1, "]", function(result, index, place)
            result[index], place = decode_value(text, place)
            return place
        end)
    end
    if c == "{" then
        return decode_members(text, at + 1, "}", function(result, _, place)
            if string.sub(text, place, place) ~= '"' then error("Expected object key string") end
            local key
            key, place = decode_string(text, place + 1)
            place = skip(text, place)
            if string.sub(text, place, place) ~= ":" then error("Expected colon") end
            result[key], place = decode_value(text, place + 1)
            return place
        end)
    end
    local word = string.match(text, "^%a+", at)
    if word and words[word] ~= nil then return words[word], at + #word end
    local digits = string.match(text, "^-?%d+%.?%d*[eE]?[+-]?%d*", at)
    local value = digits and tonumber(digits)
    if not value then error("Expected value but found invalid token at character " .. at) end
    return value, at + #digits
end

cjson.encode = encode
cjson.decode = function(text)
    local value, at = decode_value(tostring(text), 1)
    if skip(text, at) <= #text then error("Expected the end but found invalid token") end
    return value
end

-- Errors raised by redis.call are Python's. Like the server's own, this pcall gives their text.
local function caught(ok, failure, ...)
    if not ok and type(failure) == "userdata" then return false, refuse(failure) end
    if not ok and type(failure) == "table" and failure.err then return false, failure.err end
    return ok, failure, ...
end

local globals = {
    redis = redis, server = redis, cjson = cjson, string = string, table = table, math = math, coroutine = coroutine,
    tonumber = tonumber, tostring = tostring, type = type, pairs = pairs, ipairs = ipairs, next = next,
    select = select, unpack = unpack, error = error, assert = assert, rawget = rawget, rawset = rawset,
    rawequal = rawequal, setmetatable = setmetatable, getmetatable = getmetatable,
    pcall = function(...) return caught(pcall(...)) end,
}
globals._G = globals
setmetatable(globals, {
    __index = function(_, name)
        error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
    end,
    __newindex = function() error("Attempt to modify a readonly table", 2) end,
})

-- A reply as (kind, ...) for Python: scalars as they are, an array as its items up to the first nil.
local reply

local function reply_items(value)
    local items, count = {}, 0
    while value[count + 1] ~= nil do
        count = count + 1
        items[count] = reply(value[count])
    end
    return items
end

function reply(value)
    if type(value) ~= "table" then return value end
    if rawget(value, "err") then return {kind = "err", text = value.err} end
    if rawget(value, "ok") then return {kind = "ok", text = value.ok} end
    return reply_items(value)
end

local MOST_RETURNED = 4000 -- Lua's C stack bounds what one return can carry

local function flat_length(value)
    local count = 0
    while value[count + 1] ~= nil do
        count = count + 1
        if type(value[count]) == "table" then return nil end
    end
    return count <= MOST_RETURNED and count or nil
end

local function failure_text(failure)
    if type(failure) == "table" then return failure.err end
    if type(failure) == "userdata" then return refuse(failure) end
    return "ERR " .. tostring(failure)
end

local function answer(ok, value)
    if not ok then return "err", failure_text(value) end
    if type(value) ~= "table" then return "scalar", value end
    if rawget(value, "err") then return "err", value.err end
    if rawget(value, "ok") then return "ok", value.ok end
    local count = flat_length(value)
    if count then return "array", count, unpack(value, 1, count) end
    return "nested", reply_items(value)
end

return function(text)
    local script, problem = loadstring(text, "@user_script")
    if not script then error("compiling script: " .. problem, 0) end
    setfenv(script, globals)
    return function(keys, arguments)
        rawset(globals, "KEYS", keys)
        rawset(globals, "ARGV", arguments)
        return answer(pcall(script))
    end
end
