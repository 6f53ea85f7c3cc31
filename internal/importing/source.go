package importing

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbound"
)

// Local returns a repository of this server as a source, as the handle sees it.
func Local(of oci.Registry, repo oci.Repository) Source { return local{of, repo} }

type local struct {
	of   oci.Registry
	repo oci.Repository
}

// Manifest implements Source.
func (l local) Manifest(ctx context.Context, ref oci.Reference) (*oci.Manifest, error) {
	m, err := l.of.GetManifest(ctx, l.repo, ref)
	if fault.Is(err, fault.NotFound) {
		return nil, noSuchSource(string(l.repo), ref)
	}
	return m, err
}

// Blob implements Source.
func (l local) Blob(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	b, err := l.of.OpenBlob(ctx, l.repo, d.Digest)
	if err != nil {
		return nil, err
	}
	return b.Content, nil
}

// Login is how one gets at a registry elsewhere.
type Login struct {
	Host      string // with its port if it has one
	PlainHTTP bool
	Username  string
	Password  string // of a user; without a username it is an identity token
}

// maxRedirects is how often a registry may say that something is elsewhere.
const maxRedirects = 5

// Remote returns a repository of a registry elsewhere as a source. Whatever it, the
// server of its tokens or a redirect names is asked over transport alone. It fails
// with fault.Invalid for a host that is none.
func Remote(transport http.RoundTripper, at Login, repo oci.Repository, userAgent string) (Source, error) {
	name := at.Host + "/" + string(repo)
	r, err := remote.NewRepository(name)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "%.200q names no repository of a registry: use host/repository:tag, for example docker.io/library/alpine:3", name).
			WithCode("InvalidImportSource")
	}
	credential := auth.Credential{Username: at.Username, Password: at.Password}
	if at.Username == "" {
		credential = auth.Credential{RefreshToken: at.Password}
	}
	client := &auth.Client{
		Client: &http.Client{Transport: transport, CheckRedirect: redirects},
		Cache:  auth.NewCache(),
		Header: http.Header{"User-Agent": {userAgent}},
	}
	if at.Password != "" {
		client.Credential = auth.StaticCredential(r.Reference.Host(), credential)
	}
	r.Client, r.PlainHTTP = client, at.PlainHTTP
	r.MaxMetadataBytes = MaxManifest
	r.SkipReferrersGC = true
	return elsewhere{r, at.Host, repo}, nil
}

// redirects follows what leads to where blobs are, and never from HTTPS to HTTP.
// Authorization does not go to another host: net/http sees to that.
func redirects(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return errTooMany
	case via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https":
		return errDowngrade
	}
	return nil
}

var (
	errTooMany   = errors.New("it redirects too often")
	errDowngrade = errors.New("it redirects from HTTPS to HTTP")
)

type elsewhere struct {
	*remote.Repository
	host string
	repo oci.Repository
}

// Manifest implements Source.
func (e elsewhere) Manifest(ctx context.Context, ref oci.Reference) (*oci.Manifest, error) {
	text := string(ref.Tag)
	if ref.Digest != "" {
		text = string(ref.Digest)
	}
	desc, content, err := e.Manifests().FetchReference(ctx, text)
	if err != nil {
		return nil, e.explain(ctx, ref, err)
	}
	defer content.Close()
	data, err := io.ReadAll(io.LimitReader(content, MaxManifest+1))
	if err != nil {
		return nil, e.explain(ctx, ref, err)
	}
	if len(data) > MaxManifest {
		return nil, fault.New(fault.TooLarge, "manifest %s of %s has more than %d MiB", text, e.host, MaxManifest>>20)
	}
	algorithm := oci.SHA256
	if ref.Digest != "" {
		algorithm = ref.Digest.Algorithm()
	}
	dgst := oci.FromBytes(algorithm, data)
	if ref.Digest != "" && dgst != ref.Digest {
		return nil, fault.New(fault.Invalid, "registry %s answered for manifest %s with something else: it has the digest %s", e.host, ref.Digest, dgst).WithCode("ImportSourceUnavailable")
	}
	return &oci.Manifest{Descriptor: oci.Descriptor{MediaType: desc.MediaType, Digest: dgst, Size: int64(len(data))}, Data: data}, nil
}

// Blob implements Source.
func (e elsewhere) Blob(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	content, err := e.Blobs().Fetch(ctx, ocispec.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest), Size: d.Size})
	if err != nil {
		return nil, e.explain(ctx, oci.Reference{Digest: d.Digest}, err)
	}
	return content, nil
}

// explain makes a fault of what a registry elsewhere answered, or why it did not.
// What it said is not repeated: it is a stranger's. It is of kind Invalid, as the
// source is what the request says: of other failures Azure's clients would take
// that they are to ask again.
func (e elsewhere) explain(ctx context.Context, ref oci.Reference, err error) error {
	name := e.host + "/" + string(e.repo)
	var answer *errcode.ErrorResponse
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errTooMany), errors.Is(err, errDowngrade):
		return fault.Wrap(err, fault.Invalid, "registry %s is not followed: %s", e.host, reason(err)).WithCode("ImportSourceUnavailable")
	case errors.Is(err, errdef.ErrNotFound):
		return noSuchSource(name, ref)
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return unauthorised(name)
	case errors.As(err, &answer):
		switch answer.StatusCode {
		case http.StatusNotFound:
			return noSuchSource(name, ref)
		case http.StatusUnauthorized, http.StatusForbidden:
			return unauthorised(name)
		case http.StatusTooManyRequests:
			return fault.Wrap(err, fault.Invalid, "registry %s has been asked too often: try again later, or with credentials", e.host).WithCode("ImportSourceUnavailable")
		}
		return fault.Wrap(err, fault.Invalid, "registry %s answered with status %d", e.host, answer.StatusCode).WithCode("ImportSourceUnavailable")
	}
	why, refused := outbound.Explain(err)
	switch {
	case why == "":
		why = "its answer is not one of a registry, or it has its tokens made at a private address, under another name than its own"
	case refused:
		return fault.Wrap(err, fault.Denied, "registry %s cannot be asked: %s", e.host, why).WithCode("ImportSourceRefused")
	}
	return fault.Wrap(err, fault.Invalid, "registry %s cannot be asked: %s", e.host, why).WithCode("ImportSourceUnavailable")
}

func reason(err error) string {
	if errors.Is(err, errTooMany) {
		return errTooMany.Error()
	}
	return errDowngrade.Error()
}

func noSuchSource(name string, ref oci.Reference) error {
	separator := ":"
	what := string(ref.Tag)
	if ref.Digest != "" {
		separator, what = "@", string(ref.Digest)
	}
	return fault.New(fault.Invalid, "there is no image %s%s%s, or it is for others: check the name, or give credentials", name, separator, what).
		WithCode("ImportSourceNotFound")
}

func unauthorised(name string) error {
	return fault.New(fault.Invalid, "%s wants credentials, or others than were given: use --username and --password of its registry", name).
		WithCode("ImportSourceUnauthorized")
}
