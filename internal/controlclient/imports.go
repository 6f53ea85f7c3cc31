package controlclient

import (
	"context"
	"net/http"
	"time"
)

// Import says which image is to be copied into a registry.
type Import struct {
	Source       ImportSource `json:"source"`
	TargetTags   []string     `json:"targetTags,omitempty"`
	Repositories []string     `json:"untaggedTargetRepositories,omitempty"`
	Mode         string       `json:"mode"` // NoForce or Force
}

// ImportSource is where it comes from: a registry of the server by its id, or one
// elsewhere by the name of its host.
type ImportSource struct {
	ResourceID  string             `json:"resourceId,omitempty"`
	RegistryURI string             `json:"registryUri,omitempty"`
	SourceImage string             `json:"sourceImage"`
	Credentials *ImportCredentials `json:"credentials,omitempty"`
}

// ImportCredentials are those of the registry elsewhere.
type ImportCredentials struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password"`
}

// importTime is how long a server may take for an import.
const importTime = 65 * time.Minute

// Import copies an image into a registry and returns when it is there, which may
// take as long as copying it does.
func (c *Client) Import(ctx context.Context, registry string, what Import) error {
	patient := *c
	patient.http.Timeout = importTime
	_, err := patient.do(ctx, http.MethodPost, registryPath(registry, "importImage"), what, nil)
	return err
}
