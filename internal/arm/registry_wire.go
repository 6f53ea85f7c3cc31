package arm

import (
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/tenant"
)

// The wire forms of a registry, members in the order Azure sends them.
type (
	registryBody struct {
		SKU        skuBody            `json:"sku"`
		Type       string             `json:"type"`
		ID         string             `json:"id"`
		Name       string             `json:"name"`
		Location   string             `json:"location"`
		Tags       map[string]string  `json:"tags"`
		SystemData systemData         `json:"systemData"`
		Properties registryProperties `json:"properties"`
	}
	skuBody struct {
		Name tenant.SKU `json:"name"`
		Tier tenant.SKU `json:"tier"`
	}
	registryProperties struct {
		LoginServer                string          `json:"loginServer"`
		CreationDate               string          `json:"creationDate"`
		ProvisioningState          string          `json:"provisioningState"`
		AdminUserEnabled           bool            `json:"adminUserEnabled"`
		NetworkRuleSet             *networkRuleSet `json:"networkRuleSet,omitempty"` // Premium only
		Policies                   policies        `json:"policies"`
		Encryption                 statusBody      `json:"encryption"`
		DataEndpointEnabled        bool            `json:"dataEndpointEnabled"`
		DataEndpointHostNames      []string        `json:"dataEndpointHostNames"`
		PrivateEndpointConnections []string        `json:"privateEndpointConnections"`
		PublicNetworkAccess        string          `json:"publicNetworkAccess"`
		NetworkRuleBypassOptions   string          `json:"networkRuleBypassOptions"`
		ZoneRedundancy             string          `json:"zoneRedundancy"`
		AnonymousPullEnabled       bool            `json:"anonymousPullEnabled"`
	}
	networkRuleSet struct {
		DefaultAction string   `json:"defaultAction"`
		IPRules       []string `json:"ipRules"`
	}
	policies struct {
		Quarantine          statusBody      `json:"quarantinePolicy"`
		Trust               trustPolicy     `json:"trustPolicy"`
		Retention           retentionPolicy `json:"retentionPolicy"`
		Export              statusBody      `json:"exportPolicy"`
		AuthenticationAsARM statusBody      `json:"azureADAuthenticationAsArmPolicy"`
		SoftDelete          softDelete      `json:"softDeletePolicy"`
	}
	statusBody struct {
		Status string `json:"status"`
	}
	trustPolicy struct {
		Type   string `json:"type"`
		Status string `json:"status"`
	}
	retentionPolicy struct {
		Days            int    `json:"days"`
		LastUpdatedTime string `json:"lastUpdatedTime"`
		Status          string `json:"status"`
	}
	softDelete struct {
		RetentionDays   int    `json:"retentionDays"`
		LastUpdatedTime string `json:"lastUpdatedTime"`
		Status          string `json:"status"`
	}
)

// provisioned is the state of everything here: nothing is made in steps.
const provisioned = "Succeeded"

// registryToWire shows what a registry is.
func registryToWire(r tenant.Registry, source event.Registry) registryBody {
	created := wireTime(r.CreatedAt)
	set := r.Settings.Get
	body := registryBody{
		SKU:        skuBody{r.SKU, r.SKU},
		Type:       aRegistry,
		ID:         r.ResourceID(),
		Name:       r.Name,
		Location:   r.Location,
		Tags:       orEmpty(r.Tags),
		SystemData: stampToWire(r.Stamp),
		Properties: registryProperties{
			LoginServer:       source.LoginServer,
			CreationDate:      created,
			ProvisioningState: provisioned,
			AdminUserEnabled:  r.AdminEnabled,
			Policies: policies{
				Quarantine:          statusBody{set("policies.quarantinePolicy.status")},
				Trust:               trustPolicy{set("policies.trustPolicy.type"), set("policies.trustPolicy.status")},
				Retention:           retentionToWire(r),
				Export:              statusBody{set("policies.exportPolicy.status")},
				AuthenticationAsARM: statusBody{set("policies.azureADAuthenticationAsArmPolicy.status")},
				SoftDelete:          softDeleteToWire(r),
			},
			Encryption:                 statusBody{set("encryption.status")},
			DataEndpointEnabled:        set("dataEndpointEnabled") == "true",
			DataEndpointHostNames:      []string{},
			PrivateEndpointConnections: []string{},
			PublicNetworkAccess:        set("publicNetworkAccess"),
			NetworkRuleBypassOptions:   set("networkRuleBypassOptions"),
			ZoneRedundancy:             set("zoneRedundancy"),
			AnonymousPullEnabled:       set("anonymousPullEnabled") == "true",
		},
	}
	if r.SKU == tenant.Premium {
		body.Properties.NetworkRuleSet = &networkRuleSet{DefaultAction: set("networkRuleSet.defaultAction"), IPRules: []string{}}
	}
	return body
}

func retentionToWire(r tenant.Registry) retentionPolicy {
	p := r.RetentionPolicy()
	return retentionPolicy{p.Days, wireTime(p.Updated), onOff(p.Enabled)}
}

func softDeleteToWire(r tenant.Registry) softDelete {
	p := r.SoftDeletePolicy()
	return softDelete{p.Days, wireTime(p.Updated), onOff(p.Enabled)}
}

func onOff(on bool) string {
	if on {
		return "enabled"
	}
	return "disabled"
}

// registryInput is the body of PUT and of PATCH.
type registryInput struct {
	Location   member[string]            `json:"location"`
	Tags       member[map[string]string] `json:"tags"`
	SKU        member[skuInput]          `json:"sku"`
	Identity   member[identityInput]     `json:"identity"`
	Properties member[map[string]any]    `json:"properties"`
}

type (
	skuInput struct {
		Name string `json:"name"`
	}
	identityInput struct {
		Type string `json:"type"`
	}
)

// settings returns the settings that were sent, and whether the admin user is to
// be enabled, nil where nothing is said of that. Members that are null, or that
// tenant.KnownSettings does not have, count as absent.
func (in registryInput) settings() (sent map[string]string, admin *bool, err error) {
	if t := in.Identity.orZero().Type; t != "" && !strings.EqualFold(t, "None") {
		return nil, nil, invalidContent("identity.type cannot be %s: a registry has no identity of its own here; use None, or leave identity out", clip(t))
	}
	properties := in.Properties.orZero()
	switch v := properties["adminUserEnabled"].(type) {
	case nil:
	case bool:
		admin = &v
	default:
		return nil, nil, invalidContent("properties.adminUserEnabled must be true or false")
	}
	sent = map[string]string{}
	for _, known := range tenant.KnownSettings {
		value, err := lookup(properties, known.Name)
		if err != nil {
			return nil, nil, err
		}
		switch v := value.(type) {
		case nil:
		case string:
			sent[known.Name] = v
		case bool:
			sent[known.Name] = strconv.FormatBool(v)
		case float64:
			sent[known.Name] = strconv.FormatFloat(v, 'f', -1, 64)
		case []any:
			sent[known.Name] = "[]"
			if len(v) > 0 {
				sent[known.Name] = "[" + strconv.Itoa(len(v)) + " of them]"
			}
		default:
			return nil, nil, invalidContent("properties.%s is of the wrong type: it must be a plain value", known.Name)
		}
	}
	return sent, admin, nil
}

// lookup returns the member of a JSON object at a path, nil if there is none.
func lookup(object map[string]any, path string) (any, error) {
	walked := "properties"
	for {
		name, rest, more := strings.Cut(path, ".")
		if !more || object[name] == nil {
			return object[name], nil
		}
		walked += "." + name
		inner, ok := object[name].(map[string]any)
		if !ok {
			return nil, invalidContent("%s is of the wrong type: it must be an object", walked)
		}
		object, path = inner, rest
	}
}

// wireTime writes a time as Azure does: UTC with seven fractional digits.
func wireTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// The wire forms that all resources share.
type (
	listBody[T any] struct {
		Value    []T    `json:"value"`
		NextLink string `json:"nextLink,omitempty"`
	}
	errorBody struct {
		Error errorDetail `json:"error"`
	}
	errorDetail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
)
