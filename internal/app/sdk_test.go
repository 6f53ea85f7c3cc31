package app_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerregistry/armcontainerregistry"

	"github.com/dockbell/dockbell/internal/config"
)

// anyToken is a credential for clients that want one: who asks is told by
// operating.
type anyToken struct{}

func (anyToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// operating sends the SDK's requests as the operator.
type operating struct{ *running }

func (o operating) Do(req *http.Request) (*http.Response, error) {
	o.asOperator(req)
	return o.http.Do(req)
}

// finish waits for a change that was begun.
func finish[T any](t *testing.T) func(*runtime.Poller[T], error) T {
	return func(p *runtime.Poller[T], err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if !p.Done() {
			t.Error("the answer to a change does not say that it is done")
		}
		result, err := p.PollUntilDone(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
}

// count reads all pages of a list.
func count[T any](t *testing.T, p *runtime.Pager[T], in func(T) int) (n int) {
	t.Helper()
	for p.More() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n += in(page)
	}
	return n
}

// startForSDK starts a server over TLS, and Azure's own clients of it, who are the
// operator.
func startForSDK(t *testing.T) (*running, *armcontainerregistry.ClientFactory) {
	t.Helper()
	s, subscription, options := startOverTLS(t)
	clients, err := armcontainerregistry.NewClientFactory(subscription, anyToken{}, options)
	if err != nil {
		t.Fatal(err)
	}
	return s, clients
}

// startOverTLS starts a server over TLS, and returns with it the id of its
// subscription and what Azure's own clients need to be the operator.
func startOverTLS(t *testing.T) (s *running, subscription string, options *arm.ClientOptions) {
	t.Helper()
	donor := httptest.NewUnstartedServer(nil)
	donor.StartTLS()
	pair, pool := donor.TLS.Certificates[0], x509.NewCertPool()
	pool.AddCert(donor.Certificate())
	donor.Close()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "both.pem")
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	s = start(t, settings(t.TempDir(), func(c *config.Config) { c.TLSCert, c.TLSKey = file, file }))
	s.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	options = &arm.ClientOptions{ClientOptions: policy.ClientOptions{
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: s.URL() + "/",
			Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: s.URL(), Audience: s.URL()}},
		},
		Transport: operating{s},
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}}
	status, _, body := s.do("GET", "/subscriptions?api-version=2022-12-01", nil, s.asOperator)
	var subscriptions struct {
		Value []struct{ SubscriptionID string }
	}
	if err := json.Unmarshal(body, &subscriptions); err != nil || status != http.StatusOK || len(subscriptions.Value) != 1 {
		t.Fatalf("%d %s", status, body)
	}
	return s, subscriptions.Value[0].SubscriptionID, options
}

// TestAzureSDK has Azure's own client do, over TLS, what a program for ACR does.
func TestAzureSDK(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, clients := startForSDK(t)
	rang := make(chan struct{}, 8)
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { rang <- struct{}{} }))
	defer receiver.Close()
	registries, hooks, replications := clients.NewRegistriesClient(), clients.NewWebhooksClient(), clients.NewReplicationsClient()
	const group, name = "dockbell", "contoso"

	check, err := registries.CheckNameAvailability(ctx, armcontainerregistry.RegistryNameCheckRequest{Name: new(name), Type: new("Microsoft.ContainerRegistry/registries")}, nil)
	if err != nil || !*check.NameAvailable {
		t.Fatal(check, err)
	}
	if _, err := registries.Get(ctx, group, name, nil); code(err) != "404 RegistryResourceNotFound" {
		t.Errorf("before it is made: %v", err)
	}
	made := finish[armcontainerregistry.RegistriesClientCreateResponse](t)(registries.BeginCreate(ctx, group, name, armcontainerregistry.Registry{
		Location: new("eastus"), SKU: &armcontainerregistry.SKU{Name: new(armcontainerregistry.SKUNamePremium)},
		Properties: &armcontainerregistry.RegistryProperties{AdminUserEnabled: new(true)},
	}, nil))
	if *made.Name != name || *made.Location != "eastus" || *made.SystemData.CreatedBy != s.Operator() || *made.SystemData.CreatedByType != armcontainerregistry.CreatedByTypeUser {
		t.Errorf("made %+v", made)
	}
	updated := finish[armcontainerregistry.RegistriesClientUpdateResponse](t)(registries.BeginUpdate(ctx, group, name, armcontainerregistry.RegistryUpdateParameters{
		Tags: map[string]*string{"team": new("web")},
		Properties: &armcontainerregistry.RegistryPropertiesUpdateParameters{Policies: &armcontainerregistry.Policies{
			ExportPolicy: &armcontainerregistry.ExportPolicy{Status: new(armcontainerregistry.ExportPolicyStatusDisabled)},
		}},
	}, nil))
	if *updated.Tags["team"] != "web" || *updated.Properties.Policies.ExportPolicy.Status != armcontainerregistry.ExportPolicyStatusDisabled {
		t.Errorf("updated %+v", updated)
	}
	n := count(t, registries.NewListPager(nil), func(p armcontainerregistry.RegistriesClientListResponse) int { return len(p.Value) })
	n += count(t, registries.NewListByResourceGroupPager(group, nil), func(p armcontainerregistry.RegistriesClientListByResourceGroupResponse) int { return len(p.Value) })
	if n != 4 {
		t.Errorf("%d registries in two lists", n)
	}
	credentials, err := registries.ListCredentials(ctx, group, name, nil)
	if err != nil || *credentials.Username != name || len(credentials.Passwords) != 2 {
		t.Fatal(credentials, err)
	}
	renewed, err := registries.RegenerateCredential(ctx, group, name, armcontainerregistry.RegenerateCredentialParameters{Name: new(armcontainerregistry.PasswordNamePassword2)}, nil)
	if err != nil || *renewed.Passwords[0].Value != *credentials.Passwords[0].Value || *renewed.Passwords[1].Value == *credentials.Passwords[1].Value {
		t.Error(renewed, err)
	}
	s.push("app", "v1", host(name+".dockbell.localhost"))
	usages, err := registries.ListUsages(ctx, group, name, nil)
	if err != nil || *usages.Value[0].Name != "Size" || *usages.Value[0].CurrentValue < 100 {
		t.Error(usages, err)
	}

	finish[armcontainerregistry.ReplicationsClientCreateResponse](t)(replications.BeginCreate(ctx, group, name, "westus", armcontainerregistry.Replication{Location: new("westus")}, nil))
	if n := count(t, replications.NewListPager(group, name, nil), func(p armcontainerregistry.ReplicationsClientListResponse) int { return len(p.Value) }); n != 2 {
		t.Errorf("%d replications", n)
	}

	const hook = "deployhook"
	finish[armcontainerregistry.WebhooksClientCreateResponse](t)(hooks.BeginCreate(ctx, group, name, hook, armcontainerregistry.WebhookCreateParameters{
		Location: new("eastus"),
		Properties: &armcontainerregistry.WebhookPropertiesCreateParameters{
			ServiceURI: new(receiver.URL), Actions: []*armcontainerregistry.WebhookAction{new(armcontainerregistry.WebhookActionPush)},
			CustomHeaders: map[string]*string{"X-Secret": new("s3cret")},
		},
	}, nil))
	_, err = hooks.BeginCreate(ctx, group, name, "otherhook", armcontainerregistry.WebhookCreateParameters{
		Location: new("mars"),
		Properties: &armcontainerregistry.WebhookPropertiesCreateParameters{
			ServiceURI: new(receiver.URL), Actions: []*armcontainerregistry.WebhookAction{new(armcontainerregistry.WebhookActionPush)},
		},
	}, nil)
	if code(err) != "400 LocationNotAvailableForResourceType" {
		t.Errorf("in no place of the registry: %v", err)
	}
	finish[armcontainerregistry.WebhooksClientUpdateResponse](t)(hooks.BeginUpdate(ctx, group, name, hook, armcontainerregistry.WebhookUpdateParameters{Tags: map[string]*string{"a": new("b")}}, nil))
	if got, err := hooks.Get(ctx, group, name, hook, nil); err != nil || *got.Tags["a"] != "b" || *got.SystemData.LastModifiedBy != s.Operator() {
		t.Error(got, err)
	}
	if n := count(t, hooks.NewListPager(group, name, nil), func(p armcontainerregistry.WebhooksClientListResponse) int { return len(p.Value) }); n != 1 {
		t.Errorf("%d webhooks", n)
	}
	if pinged, err := hooks.Ping(ctx, group, name, hook, nil); err != nil || *pinged.ID == "" {
		t.Error(pinged, err)
	}
	s.push("app", "v2", host(name+".dockbell.localhost"))
	<-rang
	<-rang
	if callback, err := hooks.GetCallbackConfig(ctx, group, name, hook, nil); err != nil || *callback.ServiceURI != receiver.URL || *callback.CustomHeaders["X-Secret"] != "s3cret" {
		t.Error(callback, err)
	}
	count(t, hooks.NewListEventsPager(group, name, hook, nil), func(p armcontainerregistry.WebhooksClientListEventsResponse) int { return len(p.Value) })
	finish[armcontainerregistry.WebhooksClientDeleteResponse](t)(hooks.BeginDelete(ctx, group, name, hook, nil))
	finish[armcontainerregistry.ReplicationsClientDeleteResponse](t)(replications.BeginDelete(ctx, group, name, "westus", nil))
	finish[armcontainerregistry.RegistriesClientDeleteResponse](t)(registries.BeginDelete(ctx, group, name, nil))
	if _, err := registries.Get(ctx, group, name, nil); code(err) != "404 RegistryResourceNotFound" {
		t.Errorf("after it was deleted: %v", err)
	}
	operations := clients.NewOperationsClient().NewListPager(nil)
	if n := count(t, operations, func(p armcontainerregistry.OperationsClientListResponse) int { return len(p.Value) }); n < 20 {
		t.Errorf("%d operations", n)
	}
}

// code returns the status and the code of an error of the SDK's.
func code(err error) string {
	var response *azcore.ResponseError
	if !errors.As(err, &response) {
		return ""
	}
	return fmt.Sprint(response.StatusCode, " ", response.ErrorCode)
}
