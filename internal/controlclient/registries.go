package controlclient

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// version is the api-version that ARM's own paths need. The server answers every
// one alike.
const version = "?api-version=2023-07-01"

// RegistryWrite is the body that creates or changes a registry: a nil member is
// the default in a create and stays as it is in an update. Location and SKU are
// required in a create.
type RegistryWrite struct {
	Location   string             `json:"location,omitempty"`
	Tags       map[string]string  `json:"tags,omitzero"`
	SKU        *SKU               `json:"sku,omitempty"`
	Properties RegistryProperties `json:"properties,omitzero"`
}

// RegistryProperties are the properties of a RegistryWrite.
type RegistryProperties struct {
	AdminUserEnabled     *bool     `json:"adminUserEnabled,omitempty"`
	AnonymousPullEnabled *bool     `json:"anonymousPullEnabled,omitempty"`
	Policies             *Policies `json:"policies,omitempty"`
}

// Policies are those of a RegistryProperties. A nil member stays as it is.
type Policies struct {
	Quarantine *Policy           `json:"quarantinePolicy,omitempty"`
	Retention  *RetentionPolicy  `json:"retentionPolicy,omitempty"`
	SoftDelete *SoftDeletePolicy `json:"softDeletePolicy,omitempty"`
}

// Policy is one that is switched on or off.
type Policy struct {
	Status string `json:"status"` // enabled or disabled
}

// NewPolicy returns a policy that is switched on or off.
func NewPolicy(on bool) *Policy {
	if on {
		return &Policy{"enabled"}
	}
	return &Policy{"disabled"}
}

// RetentionPolicy says whether untagged manifests are removed, and after how many
// days, 0 to 365. A nil member stays as it is.
type RetentionPolicy struct {
	Status *string `json:"status,omitempty"` // enabled or disabled
	Days   *int    `json:"days,omitempty"`
}

// SoftDeletePolicy says whether what is deleted can be restored, and for how many days,
// 1 to 90. A nil member stays as it is.
type SoftDeletePolicy struct {
	Status *string `json:"status,omitempty"` // enabled or disabled
	Days   *int    `json:"retentionDays,omitempty"`
}

// Usage is how much of what its tier allows a registry has.
type Usage struct {
	Name         string `json:"name"`
	Limit        int64  `json:"limit"` // -1: none
	CurrentValue int64  `json:"currentValue"`
	Unit         string `json:"unit"` // Bytes or Count
}

// Availability says whether a registry can have a name.
type Availability struct {
	NameAvailable bool   `json:"nameAvailable"`
	Reason        string `json:"reason"` // Invalid or AlreadyExists
	Message       string `json:"message"`
}

// Credentials are those of a registry's admin user, in clear.
type Credentials struct {
	Username  string `json:"username"`
	Passwords []struct {
		Name  string `json:"name"` // password or password2
		Value string `json:"value"`
	} `json:"passwords"`
}

// Password returns the password of a name, empty if there is none.
func (c Credentials) Password(name string) string {
	for _, p := range c.Passwords {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Group is a resource group.
type Group struct {
	Name     string `json:"name"`
	Location string `json:"location"`
}

// Replication is a registry in one location.
type Replication struct {
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Name       string            `json:"name"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties struct {
		ProvisioningState     string `json:"provisioningState"`
		RegionEndpointEnabled bool   `json:"regionEndpointEnabled"`
		Status                struct {
			DisplayStatus string `json:"displayStatus"`
			Message       string `json:"message"`
		} `json:"status"`
	} `json:"properties"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (r *Replication) UnmarshalJSON(b []byte) error {
	type fields Replication // without this method
	r.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(r))
}

// ReplicationWrite is the body that creates or changes a replication: a nil
// member is the default in a create and stays as it is in an update. Location is
// required in a create.
type ReplicationWrite struct {
	Location   string                `json:"location,omitempty"`
	Tags       map[string]string     `json:"tags,omitzero"`
	Properties ReplicationProperties `json:"properties,omitzero"`
}

// ReplicationProperties are the properties of a ReplicationWrite.
type ReplicationProperties struct {
	RegionEndpointEnabled *bool   `json:"regionEndpointEnabled,omitempty"`
	ZoneRedundancy        *string `json:"zoneRedundancy,omitempty"` // Enabled or Disabled
}

// subscription returns the path of the one subscription a server has.
func (c *Client) subscription(ctx context.Context) (string, error) {
	all, err := list[struct {
		ID string `json:"id"`
	}](ctx, c, http.MethodGet, "/subscriptions"+version)
	if err != nil {
		return "", err
	}
	if len(all) == 0 || !strings.HasPrefix(all[0].ID, "/subscriptions/") {
		return "", fault.New(fault.Denied, "%s shows no subscription to this user: ask for a role on a registry or a resource group", c.server)
	}
	return all[0].ID, nil
}

// groupPath returns the path of a resource group.
func (c *Client) groupPath(ctx context.Context, group string) (string, error) {
	subscription, err := c.subscription(ctx)
	return subscription + "/resourceGroups/" + url.PathEscape(group), err
}

// Group returns a resource group.
func (c *Client) Group(ctx context.Context, name string) (Group, error) {
	path, err := c.groupPath(ctx, name)
	if err != nil {
		return Group{}, err
	}
	return get[Group](ctx, c, http.MethodGet, path+version, nil)
}

// provider is behind a path what a registry is behind.
const provider = "/providers/Microsoft.ContainerRegistry"

// RegistriesIn returns the registries in a resource group that the caller may
// see, by name.
func (c *Client) RegistriesIn(ctx context.Context, group string) ([]Registry, error) {
	path, err := c.groupPath(ctx, group)
	if err != nil {
		return nil, err
	}
	return list[Registry](ctx, c, http.MethodGet, path+provider+"/registries"+version)
}

// PutRegistry creates a registry or replaces what is settled of the one of that
// name. An empty group is the server's default one.
func (c *Client) PutRegistry(ctx context.Context, group, name string, def RegistryWrite) (Registry, error) {
	if group == "" {
		return get[Registry](ctx, c, http.MethodPut, registryPath(name), def)
	}
	path, err := c.groupPath(ctx, group)
	if err != nil {
		return Registry{}, err
	}
	return get[Registry](ctx, c, http.MethodPut, path+provider+"/registries/"+url.PathEscape(name)+version, def)
}

// PatchRegistry changes the members that are set.
func (c *Client) PatchRegistry(ctx context.Context, name string, change RegistryWrite) (Registry, error) {
	return get[Registry](ctx, c, http.MethodPatch, registryPath(name), change)
}

// DeleteRegistry deletes a registry with all it holds; existed is false when
// there was none.
func (c *Client) DeleteRegistry(ctx context.Context, name string) (existed bool, err error) {
	status, err := c.do(ctx, http.MethodDelete, registryPath(name), nil, nil)
	return err == nil && status != http.StatusNoContent, err
}

// Usages returns how much a registry has of what its tier allows.
func (c *Client) Usages(ctx context.Context, registry string) ([]Usage, error) {
	return list[Usage](ctx, c, http.MethodGet, registryPath(registry, "listUsages"))
}

// CheckName asks whether a registry can have a name.
func (c *Client) CheckName(ctx context.Context, name string) (Availability, error) {
	subscription, err := c.subscription(ctx)
	if err != nil {
		return Availability{}, err
	}
	body := struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}{name, "Microsoft.ContainerRegistry/registries"}
	return get[Availability](ctx, c, http.MethodPost, subscription+provider+"/checkNameAvailability"+version, body)
}

// Credentials returns those of a registry's admin user.
func (c *Client) Credentials(ctx context.Context, registry string) (Credentials, error) {
	return get[Credentials](ctx, c, http.MethodPost, registryPath(registry, "listCredentials"), nil)
}

// RenewCredential makes another password, password or password2, and returns
// both.
func (c *Client) RenewCredential(ctx context.Context, registry, password string) (Credentials, error) {
	body := struct {
		Name string `json:"name"`
	}{password}
	return get[Credentials](ctx, c, http.MethodPost, registryPath(registry, "regenerateCredential"), body)
}

func replicationPath(registry, name string) string {
	return registryPath(registry, "replications", name)
}

// Replications returns where a registry is, the home first.
func (c *Client) Replications(ctx context.Context, registry string) ([]Replication, error) {
	return list[Replication](ctx, c, http.MethodGet, registryPath(registry, "replications"))
}

// Replication returns one replication.
func (c *Client) Replication(ctx context.Context, registry, name string) (Replication, error) {
	return get[Replication](ctx, c, http.MethodGet, replicationPath(registry, name), nil)
}

// PutReplication creates a replication or replaces the one of that name.
func (c *Client) PutReplication(ctx context.Context, registry, name string, def ReplicationWrite) (Replication, error) {
	return get[Replication](ctx, c, http.MethodPut, replicationPath(registry, name), def)
}

// PatchReplication changes the members that are set.
func (c *Client) PatchReplication(ctx context.Context, registry, name string, change ReplicationWrite) (Replication, error) {
	return get[Replication](ctx, c, http.MethodPatch, replicationPath(registry, name), change)
}

// DeleteReplication deletes a replication; existed is false when there was none.
func (c *Client) DeleteReplication(ctx context.Context, registry, name string) (existed bool, err error) {
	status, err := c.do(ctx, http.MethodDelete, replicationPath(registry, name), nil, nil)
	return err == nil && status != http.StatusNoContent, err
}
