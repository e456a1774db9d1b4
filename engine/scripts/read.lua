-- Jobs as they are, each with its transfers. ARGV: ids -> {clock, snapshot of each (see the prelude)}
local answer = {now}
for i, id in ipairs(ARGV) do answer[i + 1] = snapshot(id) end
return answer
