package outbound

import (
	"net/url"
	"strings"
)

// SecretsOf returns what must not be shown of a URL: its userinfo, its query, and
// each value of that.
func SecretsOf(raw string) (all []string) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil
	}
	password, _ := u.User.Password()
	all = append(all, password, u.User.Username(), u.RawQuery)
	for _, values := range u.Query() {
		all = append(all, values...)
	}
	return all
}

// Mask hides secrets in a text of a receiver, which may repeat what it was sent.
func Mask(text string, secrets []string) string {
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, masked)
		}
	}
	return text
}
