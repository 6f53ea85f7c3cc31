package registryclient

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/dockbell/dockbell/internal/oci"
)

// anyManifest is what a client accepts that takes every kind of manifest. There
// are registries that convert what is not named.
const anyManifest = oci.MediaTypeImageManifest + ", " + oci.MediaTypeImageIndex + ", " + oci.MediaTypeDockerManifest + ", " + oci.MediaTypeDockerManifestList + ", */*"

// manifestPath is the path of a manifest, by tag or digest.
func manifestPath(repository, reference string) string {
	return "/v2/" + escaped(repository, "manifests", reference)
}

// Content returns a manifest itself, by tag or digest, byte for byte.
func (c *Client) Content(ctx context.Context, repository, reference string) ([]byte, error) {
	answer, err := c.do(ctx, request{method: http.MethodGet, path: manifestPath(repository, reference), accept: anyManifest})
	return answer.Body, err
}

// DeleteManifest deletes a manifest and the tags that name it.
func (c *Client) DeleteManifest(ctx context.Context, repository, digest string) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: manifestPath(repository, digest)})
	return err
}

// Referrer is a manifest that refers to another (OCI Distribution 1.1, Listing
// Referrers).
type Referrer struct {
	Digest       string `json:"digest"`
	ArtifactType string `json:"artifactType"`
	MediaType    string `json:"mediaType"`
	Size         int64  `json:"size"` // bytes

	Raw json.RawMessage `json:"-"` // the whole descriptor
}

// UnmarshalJSON keeps the whole object beside the fields.
func (r *Referrer) UnmarshalJSON(b []byte) error {
	type fields Referrer // without this method
	r.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(r))
}

// Referrers returns the manifests that refer to one, of an artifact type only if
// that is not empty.
func (c *Client) Referrers(ctx context.Context, repository, digest, artifactType string) ([]Referrer, error) {
	q := url.Values{}
	if artifactType != "" {
		q.Set("artifactType", artifactType)
	}
	return list[Referrer](ctx, c, "/v2/"+escaped(repository, "referrers", digest), "manifests", q, 0)
}
