package arm

import (
	"net/http"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/tenant"
)

// The wire forms of a replication.
type (
	replicationInput struct {
		Location   member[string]                `json:"location"`
		Tags       member[map[string]string]     `json:"tags"`
		Properties member[replicationInputProps] `json:"properties"`
	}
	replicationInputProps struct {
		RegionEndpointEnabled member[bool]   `json:"regionEndpointEnabled"`
		ZoneRedundancy        member[string] `json:"zoneRedundancy"`
	}
	replicationBody struct {
		Type       string                `json:"type"`
		ID         string                `json:"id"`
		Name       string                `json:"name"`
		Location   string                `json:"location"`
		Tags       map[string]string     `json:"tags"`
		SystemData systemData            `json:"systemData"`
		Properties replicationProperties `json:"properties"`
	}
	replicationProperties struct {
		ProvisioningState     string            `json:"provisioningState"`
		Status                replicationStatus `json:"status"`
		RegionEndpointEnabled bool              `json:"regionEndpointEnabled"`
		ZoneRedundancy        string            `json:"zoneRedundancy"`
	}
	replicationStatus struct {
		DisplayStatus string `json:"displayStatus"`
		Message       string `json:"message"`
		Timestamp     string `json:"timestamp"`
	}
)

// What zoneRedundancy says.
const (
	zonesOn  = "Enabled"
	zonesOff = "Disabled"
)

func (in replicationInput) change() (change tenant.ReplicationChange, err error) {
	p := in.Properties.orZero()
	change = tenant.ReplicationChange{Tags: clearable(in.Tags), RegionEndpoint: p.RegionEndpointEnabled.value}
	if zones := p.ZoneRedundancy.value; zones != nil {
		on := strings.EqualFold(*zones, zonesOn)
		if !on && !strings.EqualFold(*zones, zonesOff) {
			return change, invalidContent("properties.zoneRedundancy cannot be %s: use %s or %s", clip(*zones), zonesOn, zonesOff)
		}
		change.ZoneRedundant = &on
	}
	return change, nil
}

func replicationToWire(r tenant.Registry, rep tenant.Replication) replicationBody {
	status := replicationStatus{"Ready", "The replication is ready.", wireTime(rep.CreatedAt)}
	if !rep.Home {
		status.DisplayStatus = "Pending"
		status.Message = "No node of this region has joined yet: its images are served from " + r.Location + ", and nothing rings there."
	}
	zones := zonesOff
	if rep.ZoneRedundant {
		zones = zonesOn
	}
	return replicationBody{
		Type:       aReplication,
		ID:         r.ResourceID() + "/replications/" + rep.Name,
		Name:       rep.Name,
		Location:   rep.Location,
		Tags:       orEmpty(rep.Tags),
		SystemData: stampToWire(rep.Stamp),
		Properties: replicationProperties{provisioned, status, rep.RegionEndpoint, zones},
	}
}

// listReplications shows the home first.
func listReplications(_ *api, c call) (answer, error) {
	list := listBody[replicationBody]{}
	for _, rep := range c.registry.Replications() {
		list.Value = append(list.Value, replicationToWire(c.registry, rep))
	}
	return answer{http.StatusOK, list}, nil
}

func getReplication(_ *api, c call) (answer, error) {
	rep, err := c.registry.Replication(c.name)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, replicationToWire(c.registry, rep)}, nil
}

// putReplication creates (201) or replaces (200).
func putReplication(a *api, c call) (answer, error) {
	var in replicationInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	change, err := in.change()
	if err != nil {
		return answer{}, err
	}
	rep, created, err := a.Tenants.PutReplication(c.Context(), c.registry.Name, c.name, in.Location.orZero(), change, c.by())
	if err != nil {
		return answer{}, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	c.note("created", created)
	return answer{status, replicationToWire(c.registry, rep)}, nil
}

func patchReplication(a *api, c call) (answer, error) {
	var in replicationInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	change, err := in.change()
	if err != nil {
		return answer{}, err
	}
	rep, err := a.Tenants.PatchReplication(c.Context(), c.registry.Name, c.name, change, c.by())
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, replicationToWire(c.registry, rep)}, nil
}

// deleteReplication answers 204 when there was nothing to delete.
func deleteReplication(a *api, c call) (answer, error) {
	err := a.Tenants.DeleteReplication(c.Context(), c.registry.Name, c.name)
	if fault.Is(err, fault.NotFound) {
		return answer{status: http.StatusNoContent}, nil
	}
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK}, nil
}
