import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import "./app/theme.css";
import { live } from "./api/live";
import { App } from "./app/App";

live.start();
const root = document.getElementById("root");
if (root !== null) createRoot(root).render(<StrictMode><App /></StrictMode>);
