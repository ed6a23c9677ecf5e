// An identity provider: `node oidc_provider.mjs NODE_MODULES PORT AUDIENCE` runs oidc-provider on 127.0.0.1.
import { pathToFileURL } from "node:url";

const [modules, port, audience] = process.argv.slice(2);
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

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client("globalReader"), client("writer"), client("nobody")],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      getResourceServerInfo: (context, resource) => ({
        scope: "",
        audience: resource,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
  extraTokenClaims: (context, token) => ({ roles: [token.clientId] }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
