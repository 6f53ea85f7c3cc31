package registryclient

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// DeletedManifest is what the registry knows of a manifest that was deleted.
type DeletedManifest struct {
	Digest    string    `json:"digest"`
	MediaType string    `json:"mediaType"`
	Tags      []string  `json:"tags"` // that went with it
	DeletedAt time.Time `json:"deletedAt"`
	DeletedBy string    `json:"deletedBy"`
	ExpiresAt time.Time `json:"expiresAfter"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (m *DeletedManifest) UnmarshalJSON(b []byte) error {
	type fields DeletedManifest // without this method
	m.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(m))
}

// DeletedTag is what the registry knows of a tag that was deleted.
type DeletedTag struct {
	Name      string    `json:"tag"`
	Digest    string    `json:"digest"` // of what it named
	DeletedAt time.Time `json:"deletedAt"`
	DeletedBy string    `json:"deletedBy"`
	ExpiresAt time.Time `json:"expiresAfter"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (t *DeletedTag) UnmarshalJSON(b []byte) error {
	type fields DeletedTag // without this method
	t.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(t))
}

// Restored is what was brought back.
type Restored struct {
	Manifests []string `json:"manifestsRestored"`
	Tags      []string `json:"tagsRestored"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (r *Restored) UnmarshalJSON(b []byte) error {
	type fields Restored // without this method
	r.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(r))
}

// deletedPath is the path of what was deleted in a repository, and below that.
func deletedPath(repository string, below ...string) string {
	return "/acr/v1/_deleted/" + escaped(repository, below...)
}

// DeletedRepositories returns the names of the repositories that hold nothing but what
// was deleted.
func (c *Client) DeletedRepositories(ctx context.Context) ([]string, error) {
	return list[string](ctx, c, "/acr/v1/_deleted/_catalog", "repositories", url.Values{}, 0)
}

// DeletedManifests returns what was deleted in a repository and can be restored.
func (c *Client) DeletedManifests(ctx context.Context, repository string) ([]DeletedManifest, error) {
	return list[DeletedManifest](ctx, c, deletedPath(repository, "_manifests"), "manifests", url.Values{}, 0)
}

// DeletedTags returns the tags that were deleted in a repository and can be restored, by
// name; those of one name in the order in which they were deleted.
func (c *Client) DeletedTags(ctx context.Context, repository string) ([]DeletedTag, error) {
	return list[DeletedTag](ctx, c, deletedPath(repository, "_tags"), "tags", url.Values{}, 0)
}

// Restore brings a manifest back, with a tag, or with those that went with it if tag is
// empty. force moves a tag that is in use.
func (c *Client) Restore(ctx context.Context, repository, digest, tag string, force bool) (Restored, error) {
	body := struct {
		Tag *string `json:"tag"`
	}{}
	if tag != "" {
		body.Tag = &tag
	}
	answer, err := c.do(ctx, request{
		method: http.MethodPost, path: deletedPath(repository, "_manifests", digest),
		query: url.Values{"force": {strconv.FormatBool(force)}}, body: body,
	})
	if err != nil {
		return Restored{}, err
	}
	return decode[Restored](c, answer.Body)
}
