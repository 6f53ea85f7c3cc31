package registryclient

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// Attributes are what may be done with a repository, tag or manifest. In a change,
// nil stays as it is.
type Attributes struct {
	Delete *bool `json:"deleteEnabled,omitempty"`
	List   *bool `json:"listEnabled,omitempty"`
	Read   *bool `json:"readEnabled,omitempty"`
	Write  *bool `json:"writeEnabled,omitempty"`
}

// Quarantine is what was found of a manifest. In a change, what is left out stays.
type Quarantine struct {
	State   string  `json:"quarantineState,omitempty"`   // Passed, Failed or Quarantined
	Details *string `json:"quarantineDetails,omitempty"` // JSON; empty: nothing
}

// Repository is what the registry knows of a repository.
type Repository struct {
	Name          string     `json:"imageName"`
	CreatedAt     time.Time  `json:"createdTime"`
	UpdatedAt     time.Time  `json:"lastUpdateTime"`
	ManifestCount int64      `json:"manifestCount"`
	TagCount      int64      `json:"tagCount"`
	Attributes    Attributes `json:"changeableAttributes"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (r *Repository) UnmarshalJSON(b []byte) error {
	type fields Repository // without this method
	r.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(r))
}

// Tag is what the registry knows of a tag.
type Tag struct {
	Name       string     `json:"name"`
	Digest     string     `json:"digest"`
	CreatedAt  time.Time  `json:"createdTime"`
	UpdatedAt  time.Time  `json:"lastUpdateTime"`
	Attributes Attributes `json:"changeableAttributes"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (t *Tag) UnmarshalJSON(b []byte) error {
	type fields Tag // without this method
	t.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(t))
}

// Manifest is what the registry knows of a manifest.
type Manifest struct {
	Digest       string     `json:"digest"`
	MediaType    string     `json:"mediaType"`
	ImageSize    int64      `json:"imageSize"` // bytes
	Architecture string     `json:"architecture"`
	OS           string     `json:"os"`
	CreatedAt    time.Time  `json:"createdTime"`
	UpdatedAt    time.Time  `json:"lastUpdateTime"`
	Tags         []string   `json:"tags"`
	Attributes   Attributes `json:"changeableAttributes"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (m *Manifest) UnmarshalJSON(b []byte) error {
	type fields Manifest // without this method
	m.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(m))
}

// Deleted is what went with a repository.
type Deleted struct {
	Manifests []string `json:"manifestsDeleted"`
	Tags      []string `json:"tagsDeleted"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (d *Deleted) UnmarshalJSON(b []byte) error {
	type fields Deleted // without this method
	d.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(d))
}

// metadataPath is the path of a repository in the metadata API, and below that.
// The slashes of its name stay as they are.
func metadataPath(repository string, below ...string) string {
	return "/acr/v1/" + escaped(repository, below...)
}

// escaped joins the components of a name and the segments below it, each escaped.
func escaped(name string, below ...string) string {
	segments := append(strings.Split(name, "/"), below...)
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/")
}

// change asks for what is at path, or changes it if there is anything to change: nil
// is nothing. The answer has it at member, or is it if that is empty.
func change[T any](ctx context.Context, c *Client, path, member string, to any) (T, error) {
	r := request{method: http.MethodGet, path: path}
	if to != nil {
		r.method, r.body = http.MethodPatch, to
	}
	var none T
	answer, err := c.do(ctx, r)
	if err != nil {
		return none, err
	}
	if member == "" {
		return decode[T](c, answer.Body)
	}
	members, err := decode[map[string]json.RawMessage](c, answer.Body)
	if err != nil {
		return none, err
	}
	return decode[T](c, members[member])
}

// Repositories returns the names of the repositories, in their order.
func (c *Client) Repositories(ctx context.Context, top int) ([]string, error) {
	return list[string](ctx, c, "/v2/_catalog", "repositories", url.Values{}, top)
}

// Repository returns one repository.
func (c *Client) Repository(ctx context.Context, repository string) (Repository, error) {
	return change[Repository](ctx, c, metadataPath(repository), "", nil)
}

// SetRepositoryAttributes changes the attributes that are given, and returns the
// repository.
func (c *Client) SetRepositoryAttributes(ctx context.Context, repository string, a Attributes) (Repository, error) {
	return change[Repository](ctx, c, metadataPath(repository), "", &a)
}

// DeleteRepository deletes a repository with all that is in it.
func (c *Client) DeleteRepository(ctx context.Context, repository string) (Deleted, error) {
	answer, err := c.do(ctx, request{method: http.MethodDelete, path: metadataPath(repository)})
	if err != nil {
		return Deleted{}, err
	}
	return decode[Deleted](c, answer.Body)
}

// Tags returns the tags of a repository.
func (c *Client) Tags(ctx context.Context, repository string, l Listing) ([]Tag, error) {
	return list[Tag](ctx, c, metadataPath(repository, "_tags"), "tags", l.query(), l.Top)
}

// TagsOf returns the tags of a repository that name a manifest, by name.
func (c *Client) TagsOf(ctx context.Context, repository, digest string) ([]Tag, error) {
	all, err := list[Tag](ctx, c, metadataPath(repository, "_tags"), "tags", url.Values{"digest": {digest}}, 0)
	if err != nil {
		return nil, err
	}
	// A server that does not know this filter lists them all.
	var found []Tag
	for _, t := range all {
		if t.Digest == digest {
			found = append(found, t)
		}
	}
	return found, nil
}

// Tag returns one tag.
func (c *Client) Tag(ctx context.Context, repository, tag string) (Tag, error) {
	return change[Tag](ctx, c, metadataPath(repository, "_tags", tag), "tag", nil)
}

// SetTagAttributes changes the attributes that are given, and returns the tag.
func (c *Client) SetTagAttributes(ctx context.Context, repository, tag string, a Attributes) (Tag, error) {
	return change[Tag](ctx, c, metadataPath(repository, "_tags", tag), "tag", &a)
}

// Untag removes a tag; its manifest stays.
func (c *Client) Untag(ctx context.Context, repository, tag string) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: metadataPath(repository, "_tags", tag)})
	return err
}

// Manifests returns the manifests of a repository.
func (c *Client) Manifests(ctx context.Context, repository string, l Listing) ([]Manifest, error) {
	return list[Manifest](ctx, c, metadataPath(repository, "_manifests"), "manifests", l.query(), l.Top)
}

// Manifest returns what is known of one manifest. Its content is Content's.
func (c *Client) Manifest(ctx context.Context, repository, digest string) (Manifest, error) {
	return change[Manifest](ctx, c, metadataPath(repository, "_manifests", digest), "manifest", nil)
}

// SetManifestAttributes changes the attributes that are given, and returns the
// manifest.
func (c *Client) SetManifestAttributes(ctx context.Context, repository, digest string, a Attributes) (Manifest, error) {
	return change[Manifest](ctx, c, metadataPath(repository, "_manifests", digest), "manifest", &a)
}

// SetQuarantine says what was found of a manifest, and returns it.
func (c *Client) SetQuarantine(ctx context.Context, repository, digest string, q Quarantine) (Manifest, error) {
	return change[Manifest](ctx, c, metadataPath(repository, "_manifests", digest), "manifest", &q)
}

// Digest returns the digest that a tag names.
func (c *Client) Digest(ctx context.Context, repository, tag string) (string, error) {
	t, err := c.Tag(ctx, repository, tag)
	if err == nil && t.Digest == "" {
		return "", fault.New(fault.Internal, "%s says no digest of %s:%s: is this the address of a dockbell server?", c.server, repository, tag)
	}
	return t.Digest, err
}
