// An identity provider: `node oidc_provider.mjs NODE_MODULES PORT AUDIENCE [REDIRECT_URI]` runs oidc-provider on
// 127.0.0.1. With a redirect URI, people can log in, with any name and password.
import { pathToFileURL } from "node:url";

const [modules, port, audience, redirectUri] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`));

function client(name) {
  return {
    client_id: name,
    client_secret: "secret",
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
  };
}

const facade = {
  client_id: "facade",
  client_secret: "secret",
  grant_types: ["authorization_code"],
  redirect_uris: [redirectUri],
  response_types: ["code"],
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client("globalReader"), client("writer"), client("nobody"), ...(redirectUri ? [facade] : [])],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: Boolean(redirectUri) },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      useGrantedResource: () => true,
      getResourceServerInfo: (context, resource) => ({
        scope: "",
        audience: resource,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
  extraTokenClaims: (context, token) => ({ roles: [token.clientId === "facade" ? "globalReader" : token.clientId] }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
