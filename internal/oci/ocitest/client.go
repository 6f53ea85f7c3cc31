package ocitest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// Client returns the registry that is served at baseURL, for example
// http://127.0.0.1:5000, so that the suite runs through client and server. rt
// makes the requests; nil means http.DefaultTransport. Redirects are not
// followed.
//
// Refusals come back as faults with the code and kind they had, as far as HTTP
// tells them apart: a quota looks like a denial.
//
// Two things cannot be said over HTTP, and calls that need them misbehave: that
// an upload holds exactly one byte (0-0 also stands for none), and where a chunk
// without bytes belongs.
func Client(t testing.TB, baseURL string, rt http.RoundTripper) oci.Registry {
	return &client{t, strings.TrimSuffix(baseURL, "/"), cmp.Or[http.RoundTripper](rt, http.DefaultTransport)}
}

type client struct {
	t    testing.TB
	base string
	rt   http.RoundTripper
}

// request is one request to be made.
type request struct {
	method string
	path   string
	query  url.Values
	header http.Header
	body   io.Reader
	want   []int // statuses of success
}

// response is what came back, read whole.
type response struct {
	status int
	header http.Header
	body   []byte
}

// do makes a request. A refusal is a fault; the response is returned with it.
func (c *client) do(ctx context.Context, r request) (response, error) {
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, r.body)
	if err != nil {
		return response{}, err
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	res, err := c.rt.RoundTrip(req)
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return response{}, err
	}
	out := response{res.StatusCode, res.Header, body}
	for _, status := range r.want {
		if out.status == status {
			return out, nil
		}
	}
	if r.method == http.MethodHead {
		// The reason is in the body, which only GET has.
		r.method = http.MethodGet
		if _, err := c.do(ctx, r); err != nil {
			return out, err
		}
		return out, fmt.Errorf("HEAD %s answers %d, GET does not", r.path, out.status)
	}
	return out, refusal(r, out)
}

var kinds = map[int]fault.Kind{
	http.StatusBadRequest:                   fault.Invalid,
	http.StatusUnauthorized:                 fault.Unauthenticated,
	http.StatusForbidden:                    fault.Denied,
	http.StatusNotFound:                     fault.NotFound,
	http.StatusMethodNotAllowed:             fault.Unsupported,
	http.StatusConflict:                     fault.Conflict,
	http.StatusRequestedRangeNotSatisfiable: fault.OutOfRange,
	http.StatusRequestEntityTooLarge:        fault.TooLarge,
	http.StatusInsufficientStorage:          fault.NoSpace,
	http.StatusServiceUnavailable:           fault.Unavailable,
	http.StatusInternalServerError:          fault.Internal,
}

func refusal(r request, res response) error {
	kind, ok := kinds[res.status]
	var body struct {
		Errors []struct {
			Code, Message string
			Detail        any
		}
	}
	if err := json.Unmarshal(res.body, &body); err != nil || !ok || len(body.Errors) != 1 {
		return fmt.Errorf("%s %s answers %d with %.500q: want one of %v, or a refusal", r.method, r.path, res.status, res.body, r.want)
	}
	e := body.Errors[0]
	return fault.New(kind, "%s", e.Message).WithCode(e.Code).WithDetail(e.Detail)
}

func (c *client) Ping(ctx context.Context) error {
	_, err := c.do(ctx, request{method: "GET", path: "/v2/", want: []int{200}})
	return err
}

func (c *client) OpenBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest) (*oci.Blob, error) {
	res, err := c.do(ctx, request{method: "GET", path: blobPath(repo, dgst), want: []int{200}})
	if err != nil {
		return nil, err
	}
	d, err := descriptor(res)
	return &oci.Blob{Descriptor: d, Content: content{bytes.NewReader(res.body)}}, err
}

func (c *client) StatBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest) (oci.Descriptor, error) {
	res, err := c.do(ctx, request{method: "HEAD", path: blobPath(repo, dgst), want: []int{200}})
	if err != nil {
		return oci.Descriptor{}, err
	}
	return descriptor(res)
}

func (c *client) GetManifest(ctx context.Context, repo oci.Repository, ref oci.Reference) (*oci.Manifest, error) {
	res, err := c.do(ctx, request{method: "GET", path: manifestPath(repo, ref), want: []int{200}})
	if err != nil {
		return nil, err
	}
	d, err := descriptor(res)
	return &oci.Manifest{Descriptor: d, Data: res.body}, err
}

func (c *client) MountBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest, from oci.Repository) (oci.Descriptor, error) {
	query := url.Values{"mount": {string(dgst)}}
	if from != "" {
		query.Set("from", string(from))
	}
	res, err := c.do(ctx, request{method: "POST", path: uploadsPath(repo), query: query, want: []int{201, 202}})
	if err != nil {
		return oci.Descriptor{}, err
	}
	if res.status == http.StatusCreated {
		return c.created(ctx, repo, res, dgst)
	}
	// The server offers an upload in place of the blob.
	id, err := uploadID(res)
	if err == nil {
		err = c.CancelUpload(ctx, repo, id)
	}
	if err == nil {
		err = oci.BlobUnknown(repo, dgst)
	}
	return oci.Descriptor{}, err
}

func (c *client) StartUpload(ctx context.Context, repo oci.Repository) (oci.UploadID, error) {
	res, err := c.do(ctx, request{method: "POST", path: uploadsPath(repo), want: []int{202}})
	if err != nil {
		return "", err
	}
	return uploadID(res)
}

func (c *client) UploadOffset(ctx context.Context, repo oci.Repository, id oci.UploadID) (int64, error) {
	res, err := c.do(ctx, request{method: "GET", path: uploadsPath(repo) + string(id), want: []int{204}})
	if err != nil {
		return 0, err
	}
	return offset(res)
}

func (c *client) AppendUpload(ctx context.Context, repo oci.Repository, id oci.UploadID, at int64, r io.Reader) (int64, error) {
	header, body, failed := chunk(at, r)
	res, err := c.do(ctx, request{
		method: "PATCH", path: uploadsPath(repo) + string(id), header: header, body: body, want: []int{202},
	})
	if err != nil && !fault.Is(err, fault.OutOfRange) {
		return 0, err
	}
	n, offsetErr := offset(res)
	if offsetErr != nil {
		return 0, offsetErr
	}
	return n, cmp.Or(err, failed)
}

func (c *client) CommitUpload(ctx context.Context, repo oci.Repository, id oci.UploadID, at int64, r io.Reader, dgst oci.Digest) (oci.Descriptor, error) {
	header, body, failed := chunk(at, r)
	if failed != nil {
		_, err := c.AppendUpload(ctx, repo, id, at, body)
		return oci.Descriptor{}, cmp.Or(err, failed)
	}
	res, err := c.do(ctx, request{
		method: "PUT", path: uploadsPath(repo) + string(id), query: url.Values{"digest": {string(dgst)}},
		header: header, body: body, want: []int{201},
	})
	if err != nil {
		return oci.Descriptor{}, err
	}
	return c.created(ctx, repo, res, dgst)
}

func (c *client) CancelUpload(ctx context.Context, repo oci.Repository, id oci.UploadID) error {
	_, err := c.do(ctx, request{method: "DELETE", path: uploadsPath(repo) + string(id), want: []int{204}})
	return err
}

func (c *client) PutManifest(ctx context.Context, repo oci.Repository, put oci.ManifestPut) (oci.ManifestResult, error) {
	ref := oci.Reference{Digest: put.Digest}
	query := url.Values{}
	if put.Digest == "" {
		if len(put.Tags) != 1 {
			c.t.Fatalf("a push of %d tags without a digest cannot be said over HTTP", len(put.Tags))
		}
		ref.Tag = put.Tags[0]
	} else {
		for _, tag := range put.Tags {
			query.Add("tag", string(tag))
		}
	}
	header := http.Header{}
	if put.MediaType != "" {
		header.Set("Content-Type", put.MediaType)
	}
	res, err := c.do(ctx, request{
		method: "PUT", path: manifestPath(repo, ref), query: query, header: header, body: bytes.NewReader(put.Data), want: []int{201},
	})
	if err != nil {
		return oci.ManifestResult{}, err
	}
	if got := res.header.Values("OCI-Tag"); len(got) != len(query["tag"]) {
		return oci.ManifestResult{}, fmt.Errorf("header OCI-Tag says %q for a push of tags %q", got, query["tag"])
	}
	dgst, err := oci.ParseDigest(res.header.Get("Docker-Content-Digest"))
	if err != nil {
		return oci.ManifestResult{}, err
	}
	if got, want := res.header.Get("Location"), manifestPath(repo, oci.Reference{Digest: dgst}); got != want {
		return oci.ManifestResult{}, fmt.Errorf("header Location is %q, not %q", got, want)
	}
	head, err := c.do(ctx, request{method: "HEAD", path: res.header.Get("Location"), want: []int{200}})
	if err != nil {
		return oci.ManifestResult{}, err
	}
	d, err := descriptor(head)
	return oci.ManifestResult{Descriptor: d, Subject: oci.Digest(res.header.Get("OCI-Subject"))}, err
}

func (c *client) DeleteBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest) error {
	_, err := c.do(ctx, request{method: "DELETE", path: blobPath(repo, dgst), want: []int{202}})
	return err
}

func (c *client) DeleteManifest(ctx context.Context, repo oci.Repository, dgst oci.Digest) error {
	_, err := c.do(ctx, request{method: "DELETE", path: manifestPath(repo, oci.Reference{Digest: dgst}), want: []int{202}})
	return err
}

func (c *client) DeleteTag(ctx context.Context, repo oci.Repository, tag oci.Tag) (oci.Digest, error) {
	res, err := c.do(ctx, request{method: "DELETE", path: manifestPath(repo, oci.Reference{Tag: tag}), want: []int{202}})
	if err != nil {
		return "", err
	}
	return oci.ParseDigest(res.header.Get("Docker-Content-Digest"))
}

func (c *client) Tags(ctx context.Context, repo oci.Repository, last string, n int) ([]oci.Tag, bool, error) {
	var list struct {
		Name oci.Repository
		Tags []oci.Tag
	}
	more, err := c.list(ctx, "/v2/"+string(repo)+"/tags/list", "", last, n, &list)
	if err == nil && list.Name != repo {
		err = fmt.Errorf("the list of tags is of %q", list.Name)
	}
	return list.Tags, more, err
}

func (c *client) Repositories(ctx context.Context, last string, n int) ([]oci.Repository, bool, error) {
	var list struct{ Repositories []oci.Repository }
	more, err := c.list(ctx, "/v2/_catalog", "", last, n, &list)
	return list.Repositories, more, err
}

func (c *client) Referrers(ctx context.Context, repo oci.Repository, dgst oci.Digest, artifactType, last string, n int) ([]oci.Descriptor, bool, error) {
	var index struct{ Manifests []oci.Descriptor }
	more, err := c.list(ctx, "/v2/"+string(repo)+"/referrers/"+string(dgst), artifactType, last, n, &index)
	return index.Manifests, more, err
}

// list reads one part of a list. Whether there is more is what the Link says.
func (c *client) list(ctx context.Context, path, artifactType, last string, n int, into any) (more bool, err error) {
	query := url.Values{}
	if artifactType != "" {
		query.Set("artifactType", artifactType)
	}
	if last != "" {
		query.Set("last", last)
	}
	if n >= 1 {
		query.Set("n", strconv.Itoa(n))
	}
	res, err := c.do(ctx, request{method: "GET", path: path, query: query, want: []int{200}})
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(res.body, into); err != nil {
		return false, err
	}
	link := res.header.Get("Link")
	if link != "" && !strings.HasPrefix(link, "<"+path+"?") {
		return false, fmt.Errorf("header Link %q does not lead to %s", link, path)
	}
	return link != "", nil
}

// created describes a blob that the server says it has, by asking for it.
func (c *client) created(ctx context.Context, repo oci.Repository, res response, dgst oci.Digest) (oci.Descriptor, error) {
	if got, want := res.header.Get("Location"), blobPath(repo, dgst); got != want {
		return oci.Descriptor{}, fmt.Errorf("header Location is %q, not %q", got, want)
	}
	if got := res.header.Get("Docker-Content-Digest"); got != string(dgst) {
		return oci.Descriptor{}, fmt.Errorf("header Docker-Content-Digest is %q, not %q", got, dgst)
	}
	return c.StatBlob(ctx, repo, dgst)
}

// chunk makes the body of an upload request. With an offset the length has to be
// known, so r is read; what it held until it failed, if it did, is sent.
func chunk(at int64, r io.Reader) (header http.Header, body io.Reader, failed error) {
	if at < 0 {
		return nil, r, nil
	}
	data, failed := io.ReadAll(r)
	header = http.Header{}
	if len(data) > 0 {
		header.Set("Content-Range", fmt.Sprintf("%d-%d", at, at+int64(len(data))-1))
	}
	return header, bytes.NewReader(data), failed
}

// descriptor reads what the headers of a pull say of the content.
func descriptor(res response) (oci.Descriptor, error) {
	dgst, err := oci.ParseDigest(res.header.Get("Docker-Content-Digest"))
	if err != nil {
		return oci.Descriptor{}, err
	}
	size, err := strconv.ParseInt(res.header.Get("Content-Length"), 10, 64)
	return oci.Descriptor{MediaType: res.header.Get("Content-Type"), Digest: dgst, Size: size}, err
}

// offset reads how far an upload is.
func offset(res response) (int64, error) {
	end, ok := strings.CutPrefix(res.header.Get("Range"), "0-")
	n, err := strconv.ParseInt(end, 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("header Range %q is not that of an upload", res.header.Get("Range"))
	}
	if n == 0 {
		return 0, nil
	}
	return n + 1, nil
}

// uploadID reads the id of an upload from its Location.
func uploadID(res response) (oci.UploadID, error) {
	_, id, ok := strings.Cut(res.header.Get("Location"), "/blobs/uploads/")
	if !ok {
		return "", fmt.Errorf("header Location %q is not that of an upload", res.header.Get("Location"))
	}
	return oci.UploadID(id), nil
}

func blobPath(repo oci.Repository, dgst oci.Digest) string {
	return "/v2/" + string(repo) + "/blobs/" + string(dgst)
}

func uploadsPath(repo oci.Repository) string { return "/v2/" + string(repo) + "/blobs/uploads/" }

func manifestPath(repo oci.Repository, ref oci.Reference) string {
	return "/v2/" + string(repo) + "/manifests/" + ref.String()
}
