package controlclient

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// ServicePrincipal is an account for programs.
type ServicePrincipal struct {
	AppID             string           `json:"appId"` // its user name
	DisplayName       string           `json:"displayName"`
	Password          string           `json:"password"` // only where it was just made
	Tenant            string           `json:"tenant"`
	CreatedAt         time.Time        `json:"createdAt"`
	PasswordCreatedAt time.Time        `json:"passwordCreatedAt"`
	RoleAssignments   []RoleAssignment `json:"roleAssignments"`
}

// RoleAssignment is a role in a scope.
type RoleAssignment struct {
	Role  string `json:"role"`
	Scope string `json:"scope,omitempty"` // ARM id; in a request empty for the subscription
}

// principalsRoot is where the server has the service principals.
const principalsRoot = "/api/v1/servicePrincipals"

// ServicePrincipals returns those the caller may manage, by name.
func (c *Client) ServicePrincipals(ctx context.Context) ([]ServicePrincipal, error) {
	return list[ServicePrincipal](ctx, c, http.MethodGet, principalsRoot)
}

// CreateServicePrincipal makes one and returns it with its password.
func (c *Client) CreateServicePrincipal(ctx context.Context, name string, roles []RoleAssignment) (ServicePrincipal, error) {
	body := struct {
		DisplayName     string           `json:"displayName"`
		RoleAssignments []RoleAssignment `json:"roleAssignments"`
	}{name, roles}
	return get[ServicePrincipal](ctx, c, http.MethodPost, principalsRoot, body)
}

// ResetServicePrincipal gives the one of that name or appId a new password and
// returns it with that.
func (c *Client) ResetServicePrincipal(ctx context.Context, nameOrID string) (ServicePrincipal, error) {
	return get[ServicePrincipal](ctx, c, http.MethodPost, principalsRoot+"/"+url.PathEscape(nameOrID)+"/reset", nil)
}

// DeleteServicePrincipal deletes the one of that name or appId.
func (c *Client) DeleteServicePrincipal(ctx context.Context, nameOrID string) error {
	_, err := c.do(ctx, http.MethodDelete, principalsRoot+"/"+url.PathEscape(nameOrID), nil, nil)
	return err
}

// Cloud is what Azure's tools have to know of a server.
type Cloud struct {
	Authentication struct {
		Tenant string `json:"tenant"` // UUID
	} `json:"authentication"`
	Suffixes struct {
		ACRLoginServer string `json:"acrLoginServer"` // what follows a registry's name, with the dot
	} `json:"suffixes"`
}

// Cloud asks the server for what Azure's tools have to know. It needs no
// credentials.
func (c *Client) Cloud(ctx context.Context) (Cloud, error) {
	clouds, err := get[[]Cloud](ctx, c, http.MethodGet, "/metadata/endpoints?api-version=2019-05-01", nil)
	if err != nil {
		return Cloud{}, err
	}
	if len(clouds) != 1 {
		return Cloud{}, fault.New(fault.Internal, "%s tells of %d clouds: is this the address of a dockbell server?", c.server, len(clouds))
	}
	return clouds[0], nil
}
