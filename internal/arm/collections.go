package arm

import (
	"net/http"
	"strconv"

	"github.com/dockbell/dockbell/internal/collect"
	"github.com/dockbell/dockbell/internal/fault"
)

type (
	collectionInput struct {
		DryRun bool `json:"dryRun"` // only count
	}

	// collectionBody is a collection. Of a dry run the figures say what would go.
	collectionBody struct {
		ID        int64  `json:"id"`
		State     string `json:"state"`
		DryRun    bool   `json:"dryRun"`
		StartedAt string `json:"startedAt"`
		StartedBy string `json:"startedBy"`
		EndedAt   string `json:"endedAt,omitempty"`
		Error     string `json:"error,omitempty"`

		Phase    string  `json:"phase,omitempty"` // of one that runs
		Progress float64 `json:"progress"`        // 0 to 1

		Repositories int64 `json:"repositories"`
		Manifests    int64 `json:"manifests"` // looked at
		Links        int64 `json:"links"`     // of blobs to repositories, looked at
		Condemned    int64 `json:"condemned"` // links that go in a later collection
		Unlinked     int64 `json:"unlinked"`  // links that went
		Blobs        int64 `json:"blobs"`
		Uploads      int64 `json:"uploads"`
		Bytes        int64 `json:"bytes"` // of blobs and uploads
		Files        int64 `json:"files"` // that no row named
		FileBytes    int64 `json:"fileBytes"`
	}

	collectionsBody struct {
		Value  []collectionBody `json:"value"`
		NextAt string           `json:"nextAt,omitempty"` // when one begins by itself
	}
)

func collectionToWire(c collect.Collection) collectionBody {
	return collectionBody{
		ID: c.ID, State: string(c.State), DryRun: c.DryRun, StartedAt: wireTime(c.StartedAt), StartedBy: c.StartedBy,
		EndedAt: optionalTime(c.EndedAt), Error: c.Problem, Phase: c.Phase, Progress: c.Done,
		Repositories: c.Repositories, Manifests: c.Manifests, Links: c.Links, Condemned: c.Condemned, Unlinked: c.Unlinked,
		Blobs: c.Blobs, Uploads: c.Uploads, Bytes: c.Bytes, Files: c.Files, FileBytes: c.FileBytes,
	}
}

// startCollection starts a collection and answers as soon as it is on record.
func startCollection(a *api, c call) (answer, error) {
	var in collectionInput
	if err := readOptional(c.Request, &in); err != nil {
		return answer{}, err
	}
	started, err := a.Collections.Collect(c.Context(), c.user, in.DryRun)
	if err != nil {
		return answer{}, err
	}
	c.note("collection", started.ID, "dryRun", started.DryRun)
	return answer{http.StatusAccepted, collectionToWire(started)}, nil
}

// listCollections shows those that are on record, newest first: one that runs is the
// first.
func listCollections(a *api, c call) (answer, error) {
	all, err := a.Collections.Collections(c.Context())
	if err != nil {
		return answer{}, err
	}
	next, err := a.Collections.Next(c.Context())
	if err != nil {
		return answer{}, err
	}
	body := collectionsBody{Value: make([]collectionBody, len(all)), NextAt: optionalTime(next)}
	for i, one := range all {
		body.Value[i] = collectionToWire(one)
	}
	return answer{http.StatusOK, body}, nil
}

func getCollection(a *api, c call) (answer, error) {
	id, err := c.collection()
	if err != nil {
		return answer{}, err
	}
	found, err := a.Collections.Collection(c.Context(), id)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, collectionToWire(found)}, nil
}

// cancelCollection ends a collection, which stays on record: a moment later it says
// that it was cancelled.
func cancelCollection(a *api, c call) (answer, error) {
	id, err := c.collection()
	if err != nil {
		return answer{}, err
	}
	cancelled, err := a.Collections.Cancel(c.Context(), id)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusAccepted, collectionToWire(cancelled)}, nil
}

// collection returns which collection the path names.
func (c call) collection() (int64, error) {
	id, err := strconv.ParseInt(c.name, 10, 64)
	if err != nil || id <= 0 {
		return 0, fault.New(fault.Invalid, "%q is no number of a collection: GET %s shows those there are", clip(c.name), CollectionsRoot)
	}
	return id, nil
}
