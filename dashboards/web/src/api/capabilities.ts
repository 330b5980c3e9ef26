// What this server can do: `/api/v1/capabilities`. The page shows nothing that is not named here.
import { request } from "./http";

export type Features = { demo: boolean; push: boolean; kafka: boolean; live: boolean };

export type Capabilities = {
  product: string;
  version: string;
  roles: string[];
  dataDir: string;
  listen: string;
  durable: boolean;
  notices: string[];
  features: Partial<Features>;
};

export function fetchCapabilities(): Promise<Capabilities> {
  return request<Capabilities>("/api/v1/capabilities");
}
