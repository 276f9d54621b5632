package cloud

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// PipelineHost is where a job of GitHub or Azure DevOps asks for its token.
const PipelineHost = "pipelines.actions.githubusercontent.com"

// The issuers of a job's token: GitHub "OpenID Connect reference", Azure DevOps "Connect to
// Azure with workload identity federation" (its issuer has the organisation's id).
const (
	GitHubIssuer = "https://token.actions.githubusercontent.com"
	DevOpsIssuer = "https://vstoken.dev.azure.com/00000000-0000-0000-0000-000000000001"
)

// FederatedAudience is what a token must be for: "Workload identity federation".
const FederatedAudience = "api://AzureADTokenExchange"

// Federation is a federated credential of an application.
type Federation struct{ Issuer, Subject string }

// Federate lets a job sign in as the application.
func (a *Application) Federate(f Federation) {
	a.cloud.set(func() { a.cloud.federations[a.ClientID] = append(a.cloud.federations[a.ClientID], f) })
}

// Job is what the pretend pipeline knows of its only job.
type Job struct {
	Token      string // that the job sends
	Subject    string
	Connection string // Azure DevOps: the id of the service connection
}

// SetJob starts a job, after which PipelineHost answers.
func (c *Cloud) SetJob(j Job) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // never fails (crypto/rand)
	}
	c.set(func() { c.job, c.jobKey = &j, key })
}

// servePipeline answers as GitHub (GET, audience in the query) and as Azure DevOps (POST,
// serviceConnectionId in the query).
func (c *Cloud) servePipeline(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	job, key := c.job, c.jobKey
	c.mu.Unlock()
	query := r.URL.Query()
	github := r.Method == http.MethodGet && query.Get("api-version") != ""
	devops := r.Method == http.MethodPost && query.Get("api-version") == "7.1"
	switch {
	case job == nil || r.Header.Get("Authorization") != "Bearer "+job.Token:
		http.Error(w, "unauthorized", http.StatusUnauthorized)
	case github:
		answer(w, http.StatusOK, map[string]any{"count": 1, "value": c.jobToken(key, GitHubIssuer, job.Subject, query.Get("audience"))})
	case devops && query.Get("serviceConnectionId") == job.Connection:
		answer(w, http.StatusOK, map[string]any{"oidcToken": c.jobToken(key, DevOpsIssuer, job.Subject, FederatedAudience)})
	default:
		http.NotFound(w, r)
	}
}

// jobToken returns a token that lives five minutes.
func (c *Cloud) jobToken(key *ecdsa.PrivateKey, issuer, subject, audience string) string {
	now := c.options.Now().Unix()
	text, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": issuer, "sub": subject, "aud": audience, "nbf": now - 10, "exp": now + 300}).SignedString(key)
	if err != nil {
		panic(err) // the key fits the method
	}
	return text
}

// federated checks the assertion of another issuer: "Microsoft identity platform and OAuth 2.0
// client credentials flow", third case. The cloud is locked. It returns false if the
// assertion is the application's own.
func (c *Cloud) federated(app *Application, assertion string) (*refusal, bool) {
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(assertion, claims); err != nil {
		return nil, false
	}
	issuer, _ := claims.GetIssuer()
	if !strings.HasPrefix(issuer, "https://") {
		return nil, false
	}
	subject, _ := claims.GetSubject()
	audience, _ := claims.GetAudience()
	_, err := jwt.Parse(assertion, func(*jwt.Token) (any, error) { return &c.jobKey.PublicKey, nil }, jwt.WithValidMethods([]string{"ES256"}), jwt.WithTimeFunc(c.now))
	switch {
	case c.jobKey == nil || err != nil:
		return refuse("invalid_client", 700024, "Client assertion is not within its valid time range, or its signature is wrong."), true
	case !slices.Contains(audience, FederatedAudience):
		return refuse("invalid_request", 700212, "No matching federated identity record found for presented assertion audience '%s'.", strings.Join(audience, " ")), true
	case !slices.Contains(c.federations[app.ClientID], Federation{issuer, subject}):
		return refuse("invalid_request", 700213, "No matching federated identity record found for presented assertion subject '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.", subject), true
	}
	return nil, true
}
