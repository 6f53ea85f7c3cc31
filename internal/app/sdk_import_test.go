package app_test

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerregistry/armcontainerregistry"
)

// TestAzureSDKImports has Azure's own client import an image, and switch on the
// policy that removes what has no tag.
func TestAzureSDKImports(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, clients := startForSDK(t)
	registries := clients.NewRegistriesClient()
	const group, name = "dockbell", "contoso"
	s.push("team/web", "1.0")
	finish[armcontainerregistry.RegistriesClientCreateResponse](t)(registries.BeginCreate(ctx, group, name, armcontainerregistry.Registry{
		Location: new("local"), SKU: &armcontainerregistry.SKU{Name: new(armcontainerregistry.SKUNamePremium)},
	}, nil))
	what := armcontainerregistry.ImportImageParameters{
		Source:     &armcontainerregistry.ImportSource{ResourceID: new(s.registryID(s.Operator())), SourceImage: new("team/web:1.0")},
		TargetTags: []*string{new("web:1.0")},
	}
	finish[armcontainerregistry.RegistriesClientImportImageResponse](t)(registries.BeginImportImage(ctx, group, name, what, nil))
	what.Mode = new(armcontainerregistry.ImportModeNoForce)
	if _, err := registries.BeginImportImage(ctx, group, name, what, nil); code(err) != "409 Conflict" {
		t.Errorf("a second time: %v", err)
	}
	what.Mode = new(armcontainerregistry.ImportModeForce)
	finish[armcontainerregistry.RegistriesClientImportImageResponse](t)(registries.BeginImportImage(ctx, group, name, what, nil))

	changed := finish[armcontainerregistry.RegistriesClientUpdateResponse](t)(registries.BeginUpdate(ctx, group, name, armcontainerregistry.RegistryUpdateParameters{
		Properties: &armcontainerregistry.RegistryPropertiesUpdateParameters{Policies: &armcontainerregistry.Policies{
			RetentionPolicy: &armcontainerregistry.RetentionPolicy{Status: new(armcontainerregistry.PolicyStatusEnabled), Days: new(int32(30))},
		}},
	}, nil))
	p := changed.Properties.Policies.RetentionPolicy
	if *p.Status != armcontainerregistry.PolicyStatusEnabled || *p.Days != 30 || !p.LastUpdatedTime.After(*changed.Properties.CreationDate) {
		t.Errorf("policy %v %v %v", *p.Status, *p.Days, p.LastUpdatedTime)
	}
}
