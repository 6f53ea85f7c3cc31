package arm

import (
	"net/http"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/importing"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/tenant"
)

// importInput says which image is to be copied into a registry.
type importInput struct {
	Source struct {
		ResourceID  string `json:"resourceId"`
		RegistryURI string `json:"registryUri"`
		SourceImage string `json:"sourceImage"`
		Credentials struct {
			Username string `json:"username"`
			Password string `json:"password"`
		} `json:"credentials"`
	} `json:"source"`
	TargetTags   []string `json:"targetTags"`
	Repositories []string `json:"untaggedTargetRepositories"`
	Mode         string   `json:"mode"` // NoForce, Force; empty: NoForce
}

// Import is an image to be copied into a registry, and who wants it.
type Import struct {
	Into       tenant.Registry
	From       tenant.Registry // of this server; the zero one: Login says where
	Login      importing.Login
	Repository oci.Repository // there
	Image      importing.Image

	By          tenant.Actor
	Correlation string // of the request
}

// pullRead is what whoever imports must be allowed in a registry of this server
// that is the source.
const pullRead = aRegistry + "/pull/read"

// importImage answers when the image is there.
func importImage(a *api, c call) (answer, error) {
	var in importInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	job := Import{Into: c.registry, By: c.by(), Correlation: c.Header.Get(headerCorrelationID)}
	switch {
	case in.Mode == "", strings.EqualFold(in.Mode, "NoForce"):
	case strings.EqualFold(in.Mode, "Force"):
		job.Image.Force = true
	default:
		return answer{}, invalidContent("mode cannot be %s: use NoForce or Force", clip(in.Mode))
	}
	var err error
	if job.Repository, job.Image.Reference, err = importing.ParseSource(in.Source.SourceImage); err != nil {
		return answer{}, err
	}
	if job.Image.Targets, err = importing.ParseTargets(in.TargetTags, in.Repositories); err != nil {
		return answer{}, err
	}
	if err := a.importSource(c, in, &job); err != nil {
		return answer{}, err
	}
	from := job.Login.Host
	if job.From.ID != 0 {
		from = job.From.Name
	}
	c.note("from", clip(from), "image", clip(string(job.Repository)+" "+job.Image.Reference.String()), "into", job.Image.Targets[0].Repository)
	if err := a.Import(c.Context(), job); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK}, nil
}

// importSource finds the registry that an image is to come from: one of this
// server, by its id or its login server, or one elsewhere.
func (a *api) importSource(c call, in importInput, job *Import) error {
	id, host := in.Source.ResourceID, in.Source.RegistryURI
	if (id == "") == (host == "") {
		return invalidContent("source must have either registryUri or resourceId: give the name of the registry's host, or the id of one of this server")
	}
	if id != "" {
		p := parsePath(id)
		found, err := a.Tenants.ByName(p.registry)
		if p.registry == "" || len(p.rest) > 0 || err != nil || p.group != "" && !strings.EqualFold(p.group, found.ResourceGroup) {
			found = tenant.Registry{}
		}
		return a.fromOurs(c, found, id, job)
	}
	scheme, rest, hasScheme := strings.Cut(host, "://")
	if hasScheme {
		host = rest
	}
	host = strings.TrimSuffix(host, "/")
	switch {
	case hasScheme && !strings.EqualFold(scheme, "https") && !strings.EqualFold(scheme, "http"):
		return invalidContent("source.registryUri has the scheme %s: use the name of the registry's host, or https:// or http:// and that", clip(scheme))
	case host == "" || strings.ContainsAny(host, "/@ "):
		return invalidContent("source.registryUri %q is no host: use its name, with a port if it has one, for example docker.io", clip(host))
	}
	for _, r := range a.Tenants.List() {
		if strings.EqualFold(a.Source(r).LoginServer, host) {
			return a.fromOurs(c, r, host, job)
		}
	}
	job.Login = importing.Login{
		Host: host, PlainHTTP: strings.EqualFold(scheme, "http"),
		Username: in.Source.Credentials.Username, Password: in.Source.Credentials.Password,
	}
	return nil
}

// fromOurs has a job copy from a registry of this server, if the caller may pull
// there. One that is not there looks to others as if they may not.
func (a *api) fromOurs(c call, r tenant.Registry, sent string, job *Import) error {
	scope := sent
	if r.ID != 0 {
		scope = r.ResourceID()
	}
	if !c.caller.May(pullRead, scope) {
		return fault.New(fault.Denied, "the client '%s' does not have authorization to perform action '%s' over scope '%s': ask for a role there that has it, for example AcrPull",
			c.user, pullRead, clip(sent)).WithCode("AuthorizationFailed")
	}
	if r.ID == 0 {
		return fault.New(fault.Invalid, "the registry %q to import from is not on this server: name its host with registryUri", clip(sent)).WithCode("ImportSourceNotFound")
	}
	job.From = r
	return nil
}
