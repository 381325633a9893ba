-- Sessions: a client's token says which endpoint serves it, in a form that tells nobody else. The filter behind this one, Envoy's stateful
-- session, knows endpoints by address in the header "x-fairlead-session"; here addresses become tokens and tokens addresses.
--
-- A token is TAG .. hex(mac .. encrypted), where what is encrypted is "LAST USE BEFORE|END|ADDRESS" (seconds; empty: no limit). The MAC is a
-- CBC-MAC over length and text and also the counter's start (SIV, RFC 5297, with XTEA as the cipher), so equal texts have equal tokens.

local bit = require("bit")
local band, bxor, lshift, rshift, tobit = bit.band, bit.bxor, bit.lshift, bit.rshift, bit.tobit
local INNER = "x-fairlead-session"
local PLACE = "fairlead.session"
local LONGEST = 512

local function block(k, v0, v1)
  local sum = 0
  for _ = 1, 32 do
    v0 = tobit(v0 + bxor(tobit(bxor(lshift(v1, 4), rshift(v1, 5)) + v1), tobit(sum + k[band(sum, 3) + 1])))
    sum = tobit(sum + 0x9e3779b9)
    v1 = tobit(v1 + bxor(tobit(bxor(lshift(v0, 4), rshift(v0, 5)) + v0), tobit(sum + k[band(rshift(sum, 11), 3) + 1])))
  end
  return v0, v1
end

local function word(text, at)
  local a, b, c, d = string.byte(text, at, at + 3)
  return tobit((a or 0) * 16777216 + (b or 0) * 65536 + (c or 0) * 256 + (d or 0))
end

local function bytes(value)
  return string.char(band(rshift(value, 24), 255), band(rshift(value, 16), 255), band(rshift(value, 8), 255), band(value, 255))
end

local function key(hex, at)
  local words = {}
  for n = 0, 3 do words[n + 1] = tobit(tonumber(string.sub(hex, at + n * 8, at + n * 8 + 7), 16)) end
  return words
end

local function mac(k, text)
  local v0, v1 = block(k, #text, 0)
  for at = 1, #text, 8 do v0, v1 = block(k, bxor(v0, word(text, at)), bxor(v1, word(text, at + 4))) end
  return v0, v1
end

local function crypt(k, v0, v1, text)
  local found = {}
  for at = 1, #text, 8 do
    v1 = tobit(v1 + 1)
    local a, b = block(k, v0, v1)
    found[#found + 1] = bytes(bxor(a, word(text, at))) .. bytes(bxor(b, word(text, at + 4)))
  end
  return string.sub(table.concat(found), 1, #text)
end

local function seal(hex, text)
  local v0, v1 = mac(key(hex, 1), text)
  local found = bytes(v0) .. bytes(v1) .. crypt(key(hex, 33), v0, v1, text)
  return (string.gsub(found, ".", function(each) return string.format("%02x", string.byte(each)) end))
end

local function unseal(hex, token)
  if #token < 18 or #token > LONGEST or #token % 2 == 1 or string.find(token, "[^0-9a-f]") then return nil end
  local raw = string.gsub(token, "..", function(each) return string.char(tonumber(each, 16)) end)
  local v0, v1 = word(raw, 1), word(raw, 5)
  local text = crypt(key(hex, 33), v0, v1, string.sub(raw, 9))
  local w0, w1 = mac(key(hex, 1), text)
  if v0 ~= w0 or v1 ~= w1 then return nil end
  return text
end

local function presented(headers, options)
  local name = options["name"]
  if options["header"] then return headers:get(name) end
  local cookies = headers:get("cookie")
  if cookies == nil then return nil end
  for pair in string.gmatch(cookies, "[^;]+") do
    local at = string.find(pair, "=", 1, true)
    if at and string.match(string.sub(pair, 1, at - 1), "^%s*(.-)%s*$") == name then
      return (string.match(string.sub(pair, at + 1), '^%s*"?(.-)"?%s*$'))
    end
  end
  return nil
end

function envoy_on_request(handle)
  local headers, options = handle:headers(), handle:metadata()
  headers:remove(INNER)
  if options:get("key") == nil then return end
  local given = { header = options:get("header"), name = options:get("name") }
  local token, tag = presented(headers, given), options:get("tag")
  local state = handle:streamInfo():dynamicMetadata()
  state:set(PLACE, "scheme", headers:get(":scheme") or "")
  if token == nil or string.sub(token, 1, #tag) ~= tag then return end
  local text = unseal(options:get("key"), string.sub(token, #tag + 1))
  if text == nil then return end
  local before, last, address = string.match(text, "^(%d*)|(%d*)|(.+)$")
  if address == nil then return end
  local now = math.floor(handle:timestamp() / 1000)
  if (before ~= "" and now > tonumber(before)) or (last ~= "" and now > tonumber(last)) then return end
  headers:add(INNER, address)
  state:set(PLACE, "address", address)
  state:set(PLACE, "last", last)
end

function envoy_on_response(handle)
  local headers, options = handle:headers(), handle:metadata()
  local moved = headers:get(INNER)
  headers:remove(INNER)
  if options:get("key") == nil then return end
  local state = handle:streamInfo():dynamicMetadata():get(PLACE) or {}
  local idle, absolute = options:get("idle"), options:get("absolute")
  local address, last = moved, ""
  local now = math.floor(handle:timestamp() / 1000)
  if moved == nil then
    -- The endpoint is the one that was asked for: a token is due only if its time runs from the last use.
    if state["address"] == nil or idle == 0 then return end
    address, last = state["address"], state["last"]
  elseif absolute > 0 then
    last = tostring(now + absolute)
  end
  local before = idle > 0 and tostring(now + idle) or ""
  local token = options:get("tag") .. seal(options:get("key"), before .. "|" .. last .. "|" .. address)
  if options:get("header") then
    headers:replace(options:get("name"), token)
    return
  end
  local cookie = options:get("name") .. "=" .. token .. "; Path=/; HttpOnly"
  if options:get("permanent") then cookie = cookie .. "; Max-Age=" .. string.format("%d", tonumber(last) - now) end
  if state["scheme"] == "https" then cookie = cookie .. "; Secure" end
  headers:add("set-cookie", cookie)
end
