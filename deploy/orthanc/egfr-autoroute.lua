-- Sends each stable study's images and regions to the modality "egfr", once per content.
-- The report that comes back makes the study stable again: only the wanted modalities are sent, and the routed count is kept in
-- the study's metadata, so that nothing goes twice. Needs in orthanc.json: "UserMetadata": { "EgfrRouted": 1024 }
local WANTED = { CT = true, PT = true, SEG = true, RTSTRUCT = true }
local OWN = 'EGFR-DLS'  -- prefix of the node's own series descriptions

function OnStableStudy(studyId, tags, metadata)
  local study = ParseJson(RestApiGet('/studies/' .. studyId))
  local resources, count = {}, 0
  for _, seriesId in ipairs(study['Series']) do
    local series = ParseJson(RestApiGet('/series/' .. seriesId))
    local main = series['MainDicomTags']
    local description = main['SeriesDescription'] or ''
    if WANTED[main['Modality']] and string.sub(description, 1, #OWN) ~= OWN then
      table.insert(resources, seriesId)
      count = count + #series['Instances']
    end
  end
  if count == 0 or metadata['EgfrRouted'] == tostring(count) then return end
  RestApiPut('/studies/' .. studyId .. '/metadata/EgfrRouted', tostring(count))
  RestApiPost('/modalities/egfr/store', DumpJson({ Resources = resources, Synchronous = false }))
end
