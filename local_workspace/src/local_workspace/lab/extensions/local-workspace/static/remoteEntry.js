// Opens source files with Databricks' header as notebooks: by a double click, and under "Open With".
//
// JupyterLab chooses by the name of a file alone what opens it, and all Python files are named alike. The
// server says of each file that it lists whether it is a notebook; what it has said is remembered here.
// Written as JupyterLab loads it, so that nothing has to be built.
(() => {
  const plugin = {
    id: "local-workspace:source-notebooks",
    autoStart: true,
    activate: (app) => {
      const registry = app.docRegistry;
      const contents = app.serviceManager.contents;
      const notebooks = new Set();

      const remember = (model) => {
        if (model.type === "directory") {
          (model.content ?? []).forEach(remember);
        } else if (model.type === "notebook") {
          notebooks.add(model.path);
        } else if (model.format !== "text") {
          notebooks.delete(model.path); // a notebook that is read as text is one still
        }
      };
      const get = contents.get.bind(contents);
      contents.get = async (path, options) => {
        const model = await get(path, options);
        remember(model);
        return model;
      };

      const preferred = registry.preferredWidgetFactories.bind(registry);
      registry.preferredWidgetFactories = (path, ...more) => {
        const found = preferred(path, ...more);
        const factory = registry.getWidgetFactory("Notebook");
        if (!notebooks.has(path) || !factory || found.includes(factory)) {
          return found;
        }
        return [factory, ...found];
      };
    },
  };
  globalThis._JUPYTERLAB = globalThis._JUPYTERLAB ?? {};
  globalThis._JUPYTERLAB["local-workspace"] = {
    init: () => {},
    get: () => Promise.resolve(() => ({ __esModule: true, default: plugin })),
  };
})();
