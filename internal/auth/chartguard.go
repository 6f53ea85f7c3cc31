package auth

import (
	"context"
	"encoding/json"
	"io"

	"github.com/dockbell/dockbell/internal/oci"
)

// Charts is the legacy chart repository of one hosted registry, as one caller sees
// it. Files are named <chart>-<version>.tgz, or so with .prov behind it. Lists are
// in JSON.
type Charts interface {
	// Index returns index.yaml. The caller closes it, as what Open returns.
	Index(ctx context.Context) (*oci.Blob, error)
	Open(ctx context.Context, file string) (*oci.Blob, error)

	Charts(ctx context.Context) (json.RawMessage, error)
	Versions(ctx context.Context, chart string) (json.RawMessage, error)
	Version(ctx context.Context, chart, version string) (json.RawMessage, error)

	Create(ctx context.Context, file string, content io.Reader) error
	Replace(ctx context.Context, file string, content io.Reader) error
	Delete(ctx context.Context, file string) error
	DeleteChart(ctx context.Context, chart string) error
}

// ToCharts is access to the legacy chart repository.
func ToCharts(actions ...string) Access {
	return Access{TypeArtifactRepository, "repo", actions}
}

// GuardCharts returns inner as the identity may use it. What it may not do fails as
// Identity.Require says, before inner hears of it.
//
// Rights by method: what reads needs pull on artifact-repository:repo, Create and
// Replace pull and push, Delete and DeleteChart delete. Who has these is decided
// where it is for images, in Identity.may.
func GuardCharts(inner Charts, id Identity, registry Registry) Charts {
	return &chartGuard{inner, id, registry}
}

// chartGuard embeds nothing: a method that Charts gains has to be taught here
// before this compiles.
type chartGuard struct {
	inner    Charts
	id       Identity
	registry Registry
}

func (g *chartGuard) require(actions ...string) error {
	return g.id.Require(g.registry, ToCharts(actions...))
}

func (g *chartGuard) Index(ctx context.Context) (*oci.Blob, error) {
	if err := g.require(Pull); err != nil {
		return nil, err
	}
	return g.inner.Index(ctx)
}

func (g *chartGuard) Open(ctx context.Context, file string) (*oci.Blob, error) {
	if err := g.require(Pull); err != nil {
		return nil, err
	}
	return g.inner.Open(ctx, file)
}

func (g *chartGuard) Charts(ctx context.Context) (json.RawMessage, error) {
	if err := g.require(Pull); err != nil {
		return nil, err
	}
	return g.inner.Charts(ctx)
}

func (g *chartGuard) Versions(ctx context.Context, chart string) (json.RawMessage, error) {
	if err := g.require(Pull); err != nil {
		return nil, err
	}
	return g.inner.Versions(ctx, chart)
}

func (g *chartGuard) Version(ctx context.Context, chart, version string) (json.RawMessage, error) {
	if err := g.require(Pull); err != nil {
		return nil, err
	}
	return g.inner.Version(ctx, chart, version)
}

func (g *chartGuard) Create(ctx context.Context, file string, content io.Reader) error {
	if err := g.require(Pull, Push); err != nil {
		return err
	}
	return g.inner.Create(ctx, file, content)
}

func (g *chartGuard) Replace(ctx context.Context, file string, content io.Reader) error {
	if err := g.require(Pull, Push); err != nil {
		return err
	}
	return g.inner.Replace(ctx, file, content)
}

func (g *chartGuard) Delete(ctx context.Context, file string) error {
	if err := g.require(Delete); err != nil {
		return err
	}
	return g.inner.Delete(ctx, file)
}

func (g *chartGuard) DeleteChart(ctx context.Context, chart string) error {
	if err := g.require(Delete); err != nil {
		return err
	}
	return g.inner.DeleteChart(ctx, chart)
}
