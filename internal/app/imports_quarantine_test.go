package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestImportAndQuarantine proves that an import is no way around quarantine: what
// comes is held back, and what is held back is not copied.
func TestImportAndQuarantine(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.must("PUT", "/api/v1/registries/fabrikam", `{"location":"local","sku":{"name":"Premium"}}`, nil)
	fabrikam := host("fabrikam.dockbell.localhost")
	digest := s.push("web", "v1", fabrikam)
	s.quarantine("enabled")
	puller := s.servicePrincipal("POST", "", `{"displayName":"puller","roleAssignments":[{"role":"AcrPull"}]}`)
	pulls := func(what string) int {
		status, _, _ := s.do("GET", "/v2/"+what, nil, func(r *http.Request) { r.SetBasicAuth(puller.AppID, puller.Password) })
		return status
	}
	copyTo := func(into, from, image, target string) (int, string) {
		status, _, body := s.do("POST", "/api/v1/registries/"+into+"/importImage",
			fmt.Appendf(nil, `{"source":{"resourceId":%q,"sourceImage":%q},"targetTags":[%q]}`, s.registryID(from), image, target), s.asOperator)
		return status, string(body)
	}
	if status, body := copyTo("dockbell", "fabrikam", "web:v1", "team/web:v1"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	for _, what := range []string{"team/web/manifests/v1", "team/web/manifests/" + digest} {
		if status := pulls(what); status != http.StatusNotFound {
			t.Errorf("%s, which was imported and is in quarantine: %d", what, status)
		}
	}
	for _, image := range []string{"team/web:v1", "team/web@" + digest} {
		if status, body := copyTo("fabrikam", "dockbell", image, "stolen:v1"); status != http.StatusBadRequest || !strings.Contains(body, "ImportSource") {
			t.Errorf("%s is copied out of quarantine: %d %s", image, status, body)
		}
	}
	s.mark("team/web", digest, "Passed")
	if status := pulls("team/web/manifests/v1"); status != http.StatusOK {
		t.Errorf("when it has passed: %d", status)
	}
	if status, body := copyTo("fabrikam", "dockbell", "team/web:v1", "bought:v1"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
}
