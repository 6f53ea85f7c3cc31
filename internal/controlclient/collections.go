package controlclient

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// collectionsRoot is where the server has the garbage collections.
const collectionsRoot = "/api/v1/garbageCollections"

// The states of a Collection; all but the first are final.
const (
	CollectionRunning     = "running"
	CollectionDone        = "done"
	CollectionCancelled   = "cancelled"
	CollectionInterrupted = "interrupted" // the server stopped
	CollectionFailed      = "failed"
)

// Collection is a garbage collection, which removes what nothing needs any more. Of a
// dry run the figures say what would go.
type Collection struct {
	ID        int64     `json:"id"`
	State     string    `json:"state"`
	DryRun    bool      `json:"dryRun"`
	StartedAt time.Time `json:"startedAt"`
	StartedBy string    `json:"startedBy"`
	EndedAt   time.Time `json:"endedAt"`  // zero while it runs
	Error     string    `json:"error"`    // why it failed
	Phase     string    `json:"phase"`    // of one that runs
	Progress  float64   `json:"progress"` // 0 to 1

	Repositories int64 `json:"repositories"`
	Manifests    int64 `json:"manifests"` // looked at
	Condemned    int64 `json:"condemned"` // links of blobs that go in a later collection
	Unlinked     int64 `json:"unlinked"`  // links that went
	Blobs        int64 `json:"blobs"`
	Uploads      int64 `json:"uploads"`
	Bytes        int64 `json:"bytes"` // of blobs and uploads
	Files        int64 `json:"files"` // that no row named
	FileBytes    int64 `json:"fileBytes"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (c *Collection) UnmarshalJSON(b []byte) error {
	type fields Collection // without this method
	c.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(c))
}

// Collections is what is on record of collections.
type Collections struct {
	Newest []Collection `json:"value"`  // newest first; one that runs is the first
	NextAt time.Time    `json:"nextAt"` // when one begins by itself; zero: none does
}

// StartCollection starts a garbage collection, which goes on by itself.
func (c *Client) StartCollection(ctx context.Context, dryRun bool) (Collection, error) {
	body := struct {
		DryRun bool `json:"dryRun"`
	}{dryRun}
	return get[Collection](ctx, c, http.MethodPost, collectionsRoot, body)
}

// Collections returns the newest garbage collections.
func (c *Client) Collections(ctx context.Context) (Collections, error) {
	return get[Collections](ctx, c, http.MethodGet, collectionsRoot, nil)
}

// Collection returns one garbage collection.
func (c *Client) Collection(ctx context.Context, id int64) (Collection, error) {
	return get[Collection](ctx, c, http.MethodGet, collectionsRoot+"/"+strconv.FormatInt(id, 10), nil)
}

// CancelCollection ends a garbage collection, a moment later: what it has done is
// done.
func (c *Client) CancelCollection(ctx context.Context, id int64) (Collection, error) {
	return get[Collection](ctx, c, http.MethodPost, collectionsRoot+"/"+strconv.FormatInt(id, 10)+"/cancel", nil)
}
