package identityserver

import "net/http"

// authenticationBody says where tokens are had, and for which audiences.
type authenticationBody struct {
	LoginEndpoint    string   `json:"loginEndpoint"`
	Audiences        []string `json:"audiences"`
	Tenant           string   `json:"tenant"`
	IdentityProvider string   `json:"identityProvider"`
}

// oldMetadata is the document of api-version 2015-01-01.
type oldMetadata struct {
	GalleryEndpoint string             `json:"galleryEndpoint"`
	GraphEndpoint   string             `json:"graphEndpoint"`
	PortalEndpoint  string             `json:"portalEndpoint"`
	Authentication  authenticationBody `json:"authentication"`
}

// cloudMetadata is one cloud in the document of 2019-05-01.
type cloudMetadata struct {
	Name            string             `json:"name"`
	ResourceManager string             `json:"resourceManager"`
	Portal          string             `json:"portal"`
	Gallery         string             `json:"gallery"`
	Graph           string             `json:"graph"`
	GraphAudience   string             `json:"graphAudience"`
	Authentication  authenticationBody `json:"authentication"`
	Suffixes        suffixes           `json:"suffixes"`
}

type suffixes struct {
	ACRLoginServer string `json:"acrLoginServer"`
}

// cloudName is what Azure's command line calls this server.
const cloudName = "Dockbell"

// metadata tells Azure's tools where everything is. It needs no credentials, for
// one asks it before one can have any.
func (s *server) metadata(w http.ResponseWriter, r *http.Request, _ string) error {
	at := base(r)
	authentication := authenticationBody{
		LoginEndpoint: at + "/" + adfs, Audiences: []string{at + "/"}, Tenant: s.Authority.Tenant(), IdentityProvider: "ADFS",
	}
	if r.URL.Query().Get("api-version") == "2015-01-01" {
		writeJSON(w, http.StatusOK, oldMetadata{at + "/", at + "/", at + "/", authentication})
		return nil
	}
	writeJSON(w, http.StatusOK, []cloudMetadata{{
		Name: cloudName, ResourceManager: at + "/", Portal: at + "/", Gallery: at + "/", Graph: at + "/", GraphAudience: at + "/",
		Authentication: authentication, Suffixes: suffixes{s.Suffix()},
	}})
	return nil
}
