-- The requests that wrk sends, and what it says of them at the end.
--
--   wrk -s requests.lua … URL                         that URL, over and over
--   wrk -s requests.lua … URL -- FILE PREFIX CLIENTS  the requests of FILE, in turn
--
-- A line of FILE is one request: method, path, access token, since token and body, with tabs
-- between them. In the path, {n} stands for a number that is used once, behind PREFIX, and {since}
-- for where that user's last /sync ended. Each connection is a thread of wrk's with a Lua state of
-- its own, so that each response belongs to the last request. Client K of N takes the lines
-- K, K+N, …: no two ask for the same user when there are as many users as clients.

local started = 0

-- Called for one thread after the other, each of which runs already when the next one's turn comes:
-- to set anything in it then would crash it.
function setup(thread)
    thread:set("client", started)
    started = started + 1
end

local function read(file, clients)
    local rows, number, follow = {}, 0, false
    for line in io.lines(file) do
        if number % clients == client then
            local method, path, token, since, body =
                line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)$")
            local headers = { ["Content-Type"] = "application/json" }
            if token ~= "" then
                headers["Authorization"] = "Bearer " .. token
            end
            table.insert(rows, {
                text = wrk.format(method, path, headers, body ~= "" and body or nil),
                token = token,
                since = since,
            })
            follow = follow or path:find("{since}", 1, true) ~= nil
        end
        number = number + 1
    end
    return rows, follow
end

function init(args)
    if #args == 0 then
        return
    end
    local rows, follow = read(args[1], tonumber(args[3]))
    local sent, since, last = 0, {}, nil
    local fill = {
        n = function()
            return args[2] .. "-" .. client .. "-" .. sent
        end,
        since = function()
            return since[last.token] or last.since
        end,
    }
    request = function()
        last = rows[sent % #rows + 1]
        sent = sent + 1
        return (last.text:gsub("{(%a+)}", function(name)
            return fill[name] and fill[name]()
        end))
    end
    if follow then
        response = function(_, _, body)
            local found = body:match('^{"next_batch":"([^"]+)"')
            if found then
                since[last.token] = found
            end
        end
    end
end

function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format(
        'summary {"requests": %d, "microseconds": %d, "p50": %d, "p95": %d, "p99": %d, "errors": %d}\n',
        summary.requests,
        summary.duration,
        latency:percentile(50),
        latency:percentile(95),
        latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout
    ))
end
