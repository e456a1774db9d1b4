-- Answers the S3 calls a sender makes while it stores an object, and throws the bytes away.
-- Kept in the shared dictionary `sink`:
--   upload:<id>         JSON      what CreateMultipartUpload was told (type, metadata)
--   part:<id>:<n>       "size etag"
--   object:<path>       JSON      size, etag, type, metadata of a stored object
--   log                 list      "<arrival> <operation> <encoded path> <bytes>", arrival in epoch seconds
--   stored, bytes       numbers   finished objects, body bytes taken since the last reset
local ffi = require("ffi")
local base = require("resty.core.base")
local dict = ngx.shared.sink
-- This file runs anew for each request, and a process can be told of only 65,536 types.
if not package.loaded["sink.recv"] then
  ffi.cdef([[ssize_t recv(int fd, void *buffer, size_t size, int flags);]])
  package.loaded["sink.recv"] = true
end
local DISCARD = 0x60 -- MSG_TRUNC | MSG_DONTWAIT
local SMALL = 65536 -- up to here the ETag is the real MD5

local function pack(t)
  local out = {}
  for k, v in pairs(t) do
    out[#out + 1] = ngx.escape_uri(k) .. "=" .. ngx.escape_uri(tostring(v))
  end
  return table.concat(out, "&")
end

local function unpack_text(text)
  return ngx.decode_args(text, 0)
end

local function note(operation, bytes)
  local arrival = string.format("%.3f", ngx.req.start_time())
  local path = ngx.var.request_uri:match("^[^?]*") -- still encoded: no spaces in it
  dict:rpush("log", arrival .. " " .. operation .. " " .. path .. " " .. bytes)
  dict:incr("bytes", bytes, 0)
end

-- The descriptor of the client's connection: nginx' ngx_http_request_t begins with a signature and its connection, which
-- begins with three pointers and the descriptor.
local function descriptor()
  local request = ffi.cast("char *", base.get_request())
  assert(ffi.cast("uint32_t *", request)[0] == 0x50545448, "not a request of nginx")
  local connection = ffi.cast("char **", request + 8)[0]
  return ffi.cast("int *", connection + 24)[0]
end

-- Reads the body and forgets it; its size and an ETag. After each wait nginx takes a few bytes of a large body, and the
-- kernel drops the rest of what has come, uncopied (MSG_TRUNC in tcp(7)): a quarter of the CPU of one buffer of nginx for
-- the whole (2026-11-26: 0.13 against 0.55 s for a GiB).
local function drain()
  local length = tonumber(ngx.var.http_content_length) or 0
  if length <= SMALL then
    ngx.req.read_body()
    return length, ngx.md5(ngx.req.get_body_data() or "")
  end
  local socket, problem = ngx.req.socket()
  if not socket then
    ngx.log(ngx.ERR, "no request socket: ", problem)
    return ngx.exit(400)
  end
  local left, fd = length, descriptor()
  while left > 0 do
    local data = socket:receiveany(4096)
    if not data then
      return ngx.exit(400)
    end
    left = left - #data
    while left > 0 do
      local dropped = tonumber(ffi.C.recv(fd, nil, left, DISCARD))
      if dropped <= 0 then
        break
      end
      left = left - dropped
    end
  end
  return length, ngx.md5(ngx.var.request_id .. length)
end

local function properties()
  local kept = { type = ngx.var.http_content_type or "binary/octet-stream" }
  for name, value in pairs(ngx.req.get_headers(0)) do
    if name:sub(1, 11) == "x-amz-meta-" then
      kept[name] = value
    end
  end
  return kept
end

local function store(kept, size, etag)
  kept.size, kept.etag = size, etag
  dict:set("object:" .. ngx.var.uri, pack(kept))
  dict:incr("stored", 1, 0)
end

local function xml(root, inner)
  ngx.header["Content-Type"] = "application/xml"
  local body = '<?xml version="1.0" encoding="UTF-8"?>\n<' .. root .. ">" .. inner .. "</" .. root .. ">"
  ngx.header["Content-Length"] = #body
  ngx.print(body)
end

local function failure(status, code)
  ngx.status = status
  if ngx.req.get_method() ~= "HEAD" then
    xml("Error", "<Code>" .. code .. "</Code><Message>" .. code .. "</Message>")
  end
end

local function place()
  local bucket, key = ngx.var.uri:match("^/([^/]+)/(.+)$")
  return "<Bucket>" .. (bucket or "") .. "</Bucket><Key>" .. (key or "") .. "</Key>"
end

-- "If-None-Match: *" forbids to replace an object. nginx must not see the header: it would answer 304 by itself.
local function forbidden()
  local condition = ngx.var.http_if_none_match
  ngx.req.clear_header("If-None-Match")
  return condition == "*" and dict:get("object:" .. ngx.var.uri) ~= nil
end

local function create_upload()
  ngx.req.read_body()
  note("create", 0)
  local id = ngx.var.request_id
  dict:set("upload:" .. id, pack(properties()))
  xml("InitiateMultipartUploadResult", place() .. "<UploadId>" .. id .. "</UploadId>")
end

local function upload_part(args)
  local id = args.uploadId
  if not dict:get("upload:" .. id) then
    drain()
    return failure(404, "NoSuchUpload")
  end
  local size, etag = drain()
  note("part", size)
  dict:set("part:" .. id .. ":" .. args.partNumber, size .. " " .. etag)
  local crc = ngx.var.http_x_amz_checksum_crc32c
  if crc then
    ngx.header["x-amz-checksum-crc32c"] = crc
  end
  ngx.header["ETag"] = '"' .. etag .. '"'
  ngx.header["Content-Length"] = 0
end

local function complete(args)
  local id = args.uploadId
  ngx.req.read_body()
  note("complete", 0)
  local kept = dict:get("upload:" .. id)
  if not kept then
    return failure(404, "NoSuchUpload")
  end
  local body = ngx.req.get_body_data() or ""
  local file = ngx.req.get_body_file()
  if file then
    local handle = io.open(file, "rb")
    body = handle:read("*a")
    handle:close()
  end
  local total, count, tags = 0, 0, {}
  for number in body:gmatch("<PartNumber>%s*(%d+)%s*</PartNumber>") do
    local part = dict:get("part:" .. id .. ":" .. number)
    if not part then
      return failure(400, "InvalidPart")
    end
    local size, etag = part:match("^(%d+) (%x+)$")
    total, count = total + tonumber(size), count + 1
    tags[count] = etag:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)
    dict:delete("part:" .. id .. ":" .. number)
  end
  local etag = ngx.md5(table.concat(tags)) .. "-" .. count
  if forbidden() then
    return failure(412, "PreconditionFailed")
  end
  dict:delete("upload:" .. id)
  store(unpack_text(kept), total, etag)
  xml("CompleteMultipartUploadResult", place() .. "<ETag>&quot;" .. etag .. "&quot;</ETag>")
end

local function put_object()
  local kept = properties()
  local size, etag = drain()
  note("put", size)
  if forbidden() then
    return failure(412, "PreconditionFailed")
  end
  store(kept, size, etag)
  local crc = ngx.var.http_x_amz_checksum_crc32c
  if crc then
    ngx.header["x-amz-checksum-crc32c"] = crc
  end
  ngx.header["ETag"] = '"' .. etag .. '"'
  ngx.header["Content-Length"] = 0
end

local function head()
  note("head", 0)
  local text = dict:get("object:" .. ngx.var.uri)
  if not text then
    if ngx.var.uri:match("^/[^/]+/?$") then
      ngx.header["Content-Length"] = 0
      return -- a bucket: they all exist
    end
    return failure(404, "NoSuchKey")
  end
  local kept = unpack_text(text)
  for name, value in pairs(kept) do
    if name:sub(1, 11) == "x-amz-meta-" then
      ngx.header[name] = value
    end
  end
  ngx.header["Content-Type"] = kept.type
  ngx.header["ETag"] = '"' .. kept.etag .. '"'
  ngx.header["Last-Modified"] = ngx.http_time(ngx.time())
  ngx.header["Accept-Ranges"] = "bytes"
  ngx.header["Content-Length"] = kept.size
end

local function control(path)
  if path == "reset" then
    dict:flush_all()
    dict:flush_expired()
    return ngx.print("ok\n")
  elseif path == "stats" then
    return ngx.print((dict:get("stored") or 0), " ", (dict:get("bytes") or 0), "\n")
  elseif path == "log" then
    local lines = {}
    for index = 1, dict:llen("log") or 0 do
      lines[index] = dict:lpop("log")
    end
    return ngx.print(table.concat(lines, "\n"), "\n")
  end
  ngx.status = 404
end

local function list(args)
  if args.uploads then
    return xml("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>")
  elseif args.location then
    return xml("LocationConstraint", "")
  end
  return xml("ListBucketResult", "<KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>")
end

local method = ngx.req.get_method()
local args = ngx.req.get_uri_args()
local own = ngx.var.uri:match("^/_sink/(%w+)$")
if own then
  return control(own)
elseif method == "POST" and args.uploads then
  return create_upload()
elseif method == "POST" and args.uploadId then
  return complete(args)
elseif method == "PUT" and args.uploadId then
  return upload_part(args)
elseif method == "PUT" and ngx.var.uri:match("^/[^/]+/.") then
  return put_object()
elseif method == "PUT" then
  ngx.header["Content-Length"] = 0 -- a bucket: they all exist
elseif method == "HEAD" then
  return head()
elseif method == "DELETE" then
  if args.uploadId then
    dict:delete("upload:" .. args.uploadId)
  else
    dict:delete("object:" .. ngx.var.uri)
  end
  ngx.status = 204
elseif method == "GET" and ngx.var.uri:match("^/[^/]+/?$") then
  return list(args)
else
  return failure(404, "NoSuchKey")
end
