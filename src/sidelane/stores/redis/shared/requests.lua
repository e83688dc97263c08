-- Requests that have been carried out, in case they are repeated (rule 3). Needs: prelude.
--
-- Keys: request:<id>  the answer, for as long as the request may be repeated

local function answer_of(request)
  return call('GET', PREFIX .. 'request:' .. request)
end

local function remember(request, answer, seconds)
  call('SET', PREFIX .. 'request:' .. request, answer, 'EX', seconds)
end
