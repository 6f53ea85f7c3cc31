package cli

import (
	"strings"

	"github.com/dockbell/dockbell/internal/oci"
)

// image is a repository, or what a tag or a digest names in it.
type image struct{ repository, tag, digest string }

// String returns the image as it is written.
func (i image) String() string {
	switch {
	case i.digest != "":
		return i.repository + "@" + i.digest
	case i.tag != "":
		return i.repository + ":" + i.tag
	}
	return i.repository
}

// reference returns what names the image in its repository.
func (i image) reference() string { return firstOf(i.digest, i.tag) }

// parseImage reads the name of an image, whose tag is latest unless it says
// another.
func parseImage(text string) (image, error) {
	var i image
	var err error
	i.repository, i.digest, _ = strings.Cut(text, "@")
	if !strings.Contains(text, "@") {
		tagged := false
		if i.repository, i.tag, tagged = strings.Cut(text, ":"); !tagged {
			i.tag = "latest"
		}
		_, err = oci.ParseTag(i.tag)
	} else if strings.Contains(i.repository, ":") {
		return image{}, Usage("%q has both a tag and a digest: write name:tag or name@sha256:…", text)
	} else {
		_, err = oci.ParseDigest(i.digest)
	}
	if err == nil {
		_, err = oci.ParseRepository(i.repository)
	}
	if err != nil {
		return image{}, Usage("%s", sentence(err))
	}
	return i, nil
}

// parseRepository reads the name of a repository.
func parseRepository(text string) (image, error) {
	if strings.ContainsAny(text, ":@") {
		return image{}, Usage("%q is no repository: leave out the tag or digest", text)
	}
	if _, err := oci.ParseRepository(text); err != nil {
		return image{}, Usage("%s", sentence(err))
	}
	return image{repository: text}, nil
}

// parseMaybeTagged reads the name of a repository, or of a tag in one.
func parseMaybeTagged(text string) (image, error) {
	switch {
	case strings.Contains(text, "@"):
		return image{}, Usage("%q has a digest: write name, or name:tag", text)
	case strings.Contains(text, ":"):
		return parseImage(text)
	}
	return parseRepository(text)
}

// cutHost cuts the login server from the name of an image or repository.
func cutHost(text string) (host, rest string, err error) {
	host, rest, ok := strings.Cut(strings.TrimPrefix(text, "https://"), "/")
	if !ok || rest == "" || !strings.Contains(host, ".") && !nameless(host) {
		return "", "", Usage("%q does not begin with a login server: write it like contoso.azurecr.io/hello-world:latest, or use -r and -n", text)
	}
	return host, rest, nil
}
