import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import "./app/theme.css";

function Page() {
  const [names, setNames] = useState<string[]>([]);
  useEffect(() => {
    void fetch("/api/v1/tables").then((answer) => answer.json()).then((body: { tables: { name: string }[] }) => setNames(body.tables.map((table) => table.name)));
  }, []);
  return <main><h1>Freshet</h1><ul>{names.map((name) => <li key={name}>{name}</li>)}</ul></main>;
}

const root = document.getElementById("root");
if (root !== null) createRoot(root).render(<StrictMode><Page /></StrictMode>);
