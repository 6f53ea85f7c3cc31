package app

import (
	"context"
	"errors"
	"time"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/importing"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/registry"
	"github.com/dockbell/dockbell/internal/tenant"
)

const (
	importsAtOnce = 4         // of all registries; the others wait
	importTime    = time.Hour // for one
)

// importImage copies an image into a registry. Once begun it goes on when whoever
// asked for it goes away, for a client may be less patient than a large image needs, and
// ends when the server stops: what was copied by then is not copied again.
func (s *Server) importImage(ctx context.Context, job arm.Import) error {
	select {
	case s.importing <- struct{}{}:
		defer func() { <-s.importing }()
	case <-ctx.Done(): // nobody waits for it any more
		return ctx.Err()
	case <-s.stopping:
		return importStopped()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), importTime)
	defer cancel()
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	from, err := s.importSource(job)
	if err != nil {
		return err
	}
	err = importing.Copy(ctx, from, s.importsOf(job, job.Into), job.Image)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fault.Wrap(err, fault.Unavailable, "the import is not done after %s: try again, which goes on with what is missing", importTime)
	case err != nil && ctx.Err() != nil:
		return importStopped()
	}
	return err
}

func importStopped() error {
	return fault.New(fault.Unavailable, "the import was ended because the server stops: try again, which goes on with what is missing")
}

// importSource is where an image comes from.
func (s *Server) importSource(job arm.Import) (importing.Source, error) {
	if job.From.ID != 0 {
		return importing.Local(s.importsOf(job, job.From), job.Repository), nil
	}
	return importing.Remote(s.fetching, job.Login, job.Repository, "Dockbell/"+Version)
}

// importsOf is a registry as an import has it: what is in quarantine is not copied,
// whoever asks, and what comes is held back like any push.
func (s *Server) importsOf(job arm.Import, reg tenant.Registry) oci.Contents {
	return s.contents(reg, registry.Caller{
		Request: event.Request{Host: s.loginServer(reg)}, Actor: job.By.Name, Kind: audit.ActorKind(job.By.Kind), Correlation: job.Correlation, Cause: "import",
	}, false)
}
