package arm

import (
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

// registryToWire shows what a registry is, and of Azure's policies what this
// server does: it keeps everything, quarantines nothing and takes its own
// tokens.
func registryToWire(r tenant.Registry, source event.Registry) registryBody {
	created := wireTime(r.CreatedAt)
	body := registryBody{
		SKU:      skuBody{r.SKU, r.SKU},
		Type:     "Microsoft.ContainerRegistry/registries",
		ID:       r.ResourceID(),
		Name:     r.Name,
		Location: r.Location,
		Tags:     map[string]string{},
		Properties: registryProperties{
			LoginServer:       source.LoginServer,
			CreationDate:      created,
			ProvisioningState: provisioned,
			Policies: policies{
				Quarantine:          statusBody{"disabled"},
				Trust:               trustPolicy{"Notary", "disabled"},
				Retention:           retentionPolicy{7, created, "disabled"},
				Export:              statusBody{"enabled"},
				AuthenticationAsARM: statusBody{"enabled"},
				SoftDelete:          softDelete{7, created, "disabled"},
			},
			Encryption:                 statusBody{"disabled"},
			DataEndpointHostNames:      []string{},
			PrivateEndpointConnections: []string{},
			PublicNetworkAccess:        "Enabled",
			NetworkRuleBypassOptions:   "AzureServices",
			ZoneRedundancy:             "Disabled",
		},
	}
	if r.SKU == tenant.Premium {
		body.Properties.NetworkRuleSet = &networkRuleSet{DefaultAction: "Allow", IPRules: []string{}}
	}
	return body
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
