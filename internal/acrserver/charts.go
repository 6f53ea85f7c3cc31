package acrserver

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/chart"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// chartRoutes adds ACR's legacy chart repository to mux: what Helm reads, and what
// az acr helm calls.
func (s *server) chartRoutes(mux *http.ServeMux) {
	const root = "/helm/v1/{repository}"
	read := func(path string, serve chartEndpoint) {
		mux.Handle("GET "+root+path, s.charts(serve)) // and HEAD
	}
	read("/index.yaml", getIndex)
	read("/_charts", getCharts)
	read("/_charts/{chart}", getVersions)
	read("/_charts/{chart}/{version}", getVersion)
	read("/_blobs/{file}", getFile)
	mux.Handle("PUT "+root+"/_blobs/{file}", s.charts(putFile))
	mux.Handle("PATCH "+root+"/_blobs/{file}", s.charts(patchFile))
	mux.Handle("DELETE "+root+"/_blobs/{file}", s.charts(deleteFile))
	mux.Handle("DELETE "+root+"/_charts/{chart}", s.charts(deleteChart))
	for path, allowed := range map[string]string{
		"/index.yaml": "GET, HEAD", "/_charts": "GET, HEAD", "/_charts/{chart}/{version}": "GET, HEAD",
		"/_charts/{chart}": "GET, HEAD, DELETE", "/_blobs/{file}": "GET, HEAD, PUT, PATCH, DELETE",
	} {
		mux.Handle(root+path, s.handle(wrongMethod(allowed)))
	}
}

// chartEndpoint answers a request to a chart repository; what it returns as an error
// becomes the answer.
type chartEndpoint func(w http.ResponseWriter, r *http.Request, charts auth.Charts) error

func (s *server) charts(serve chartEndpoint) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request, _ auth.Registry) error {
		if name := r.PathValue("repository"); name != chart.Repository {
			return fault.New(fault.NotFound, "there is no chart repository %.80q: each registry has one, /helm/v1/%s", name, chart.Repository)
		}
		charts, err := s.Charts(r)
		if err != nil {
			return err
		}
		return serve(w, r, charts)
	})
}

func getIndex(w http.ResponseWriter, r *http.Request, charts auth.Charts) error {
	index, err := charts.Index(r.Context())
	if err != nil {
		return err
	}
	return writeContent(w, r, index)
}

func getFile(w http.ResponseWriter, r *http.Request, charts auth.Charts) error {
	file, err := charts.Open(r.Context(), r.PathValue("file"))
	if err != nil {
		return err
	}
	return writeContent(w, r, file)
}

// writeContent answers with a content, a range of it, or that the client has it
// already. What is under a name may change, so clients have to ask.
func writeContent(w http.ResponseWriter, r *http.Request, content *oci.Blob) error {
	defer content.Content.Close()
	d := content.Descriptor
	h := w.Header()
	h.Set("Content-Type", d.MediaType)
	h.Set("Docker-Content-Digest", string(d.Digest))
	h.Set("ETag", `"`+string(d.Digest)+`"`)
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, content.Content)
	return nil
}

func getCharts(w http.ResponseWriter, r *http.Request, charts auth.Charts) error {
	list, err := charts.Charts(r.Context())
	return writeList(w, list, err)
}

func getVersions(w http.ResponseWriter, r *http.Request, charts auth.Charts) error {
	list, err := charts.Versions(r.Context(), r.PathValue("chart"))
	return writeList(w, list, err)
}

func getVersion(w http.ResponseWriter, r *http.Request, charts auth.Charts) error {
	version, err := charts.Version(r.Context(), r.PathValue("chart"), r.PathValue("version"))
	return writeList(w, version, err)
}

// writeList answers with a document that is encoded, and ends it with a newline.
func writeList(w http.ResponseWriter, document json.RawMessage, err error) error {
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(document)+1))
	h.Set("Cache-Control", "no-cache")
	if _, err := w.Write(document); err == nil {
		w.Write([]byte("\n")) // whoever went away needs no end
	}
	return nil
}

// The answers to changes, which the Azure CLI prints.
var (
	saved   = []byte("{\"saved\":true}\n")
	deleted = []byte("{\"deleted\":true}\n")
)

func putFile(w http.ResponseWriter, r *http.Request, charts auth.Charts) error {
	err := charts.Create(r.Context(), r.PathValue("file"), r.Body)
	return writeDone(w, http.StatusCreated, saved, err)
}

func patchFile(w http.ResponseWriter, r *http.Request, charts auth.Charts) error {
	err := charts.Replace(r.Context(), r.PathValue("file"), r.Body)
	return writeDone(w, http.StatusOK, saved, err)
}

func deleteFile(w http.ResponseWriter, r *http.Request, charts auth.Charts) error {
	err := charts.Delete(r.Context(), r.PathValue("file"))
	return writeDone(w, http.StatusOK, deleted, err)
}

func deleteChart(w http.ResponseWriter, r *http.Request, charts auth.Charts) error {
	err := charts.DeleteChart(r.Context(), r.PathValue("chart"))
	return writeDone(w, http.StatusOK, deleted, err)
}

func writeDone(w http.ResponseWriter, status int, body []byte, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(body) // whoever went away needs no answer
	return nil
}
