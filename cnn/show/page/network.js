// A trained network in plain JavaScript: what cnn/trained/live.py describes, computed for one image.
//
// Arrays lie flat, with channels last: the value at (row, column, channel) of [height, width, channels] has the index
// (row * width + column) * channels + channel. Kernels are [height, width, channels in, channels out].
"use strict";

const Network = (() => {
  // The program with its tensors as arrays: step.kernel, step.bias and so on, each a Float32Array.
  function decode(program) {
    const bytes = fromBase64(program.weights);
    const steps = program.steps.map((step) => {
      const tensors = step.tensors.map((tensor) => [tensor.name, numbers(bytes, tensor)]);
      return { ...step, ...Object.fromEntries(tensors) };
    });
    const byName = new Map(steps.map((step) => [step.name, step]));
    return { ...program, steps, byName };
  }

  function fromBase64(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  }

  function numbers(bytes, tensor) {
    const count = tensor.shape.reduce((product, size) => product * size, 1);
    const width = tensor.type === "float16" ? 2 : 4;
    const part = bytes.slice(tensor.start, tensor.start + width * count).buffer; // from byte 0, so that it is aligned
    if (tensor.type === "int32") return new Int32Array(part);
    if (tensor.type === "float32") return new Float32Array(part);
    return Float32Array.from(new Uint16Array(part), fromFloat16);
  }

  // One bit of sign, five of exponent, ten of fraction; exponent 0 means numbers below 2^-14.
  function fromFloat16(bits) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = (bits & 0x3ff) / 1024;
    return sign * (exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14);
  }

  // Every layer's output for uint8 pixels, by the layer's name; the normalised image has the empty name. The logits are
  // those of the last layer, or their mean with those of the mirror image.
  function run(network, pixels) {
    const layers = computed(network, pixels);
    const last = network.steps[network.steps.length - 1].name;
    let logits = layers.get(last).values;
    if (network.mirror) {
      const others = computed(network, mirrored(network, pixels)).get(last).values;
      logits = logits.map((logit, index) => (logit + others[index]) / 2);
    }
    return { layers, logits, probabilities: softmax(logits) };
  }

  function computed(network, pixels) {
    const layers = new Map([["", { shape: network.image_shape, values: normalised(network, pixels) }]]);
    for (const step of network.steps) {
      const inputs = step.inputs.map((name) => layers.get(name));
      layers.set(step.name, { shape: step.shape, values: COMPUTE[step.kind](step, inputs, network) });
    }
    return layers;
  }

  function mirrored(network, pixels) {
    const [, width, channels] = network.image_shape;
    return pixels.map((_, index) => {
      const column = Math.floor(index / channels) % width;
      return pixels[index + (width - 1 - 2 * column) * channels];
    });
  }

  function normalised(network, pixels) {
    const channels = network.mean.length;
    return Float32Array.from(pixels, (pixel, index) => {
      const channel = index % channels;
      return (pixel - network.mean[channel]) / network.deviation[channel];
    });
  }

  function softmax(logits) {
    const largest = Math.max(...logits);
    const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
  }

  const COMPUTE = {
    conv: convolve,
    relu: (step, [x]) => x.values.map((value) => Math.max(value, 0)),
    max_pool: (step, [x]) => pool(step, x, -Infinity, Math.max),
    avg_pool: (step, [x]) => pool(step, x, 0, (sum, value) => sum + value / (step.size[0] * step.size[1])),
    global_avg_pool: channelMeans,
    flatten: (step, [x]) => x.values,
    dense: multiply,
    dropout: (step, [x]) => x.values, // it drops units in training only
    permute: permute,
    zero_pad: (step, [x]) => moved(step, x),
    add: (step, [x, skip]) => x.values.map((value, index) => value + skip.values[index]),
    batch_norm: (step, [x], network) => scaled(step, x, () => [step.mean, step.var], network.epsilon),
    group_norm: (step, [x], network) => scaled(step, x, () => groupMoments(step, x), network.epsilon),
  };

  // Add x[from], x[from + 1], ... times the rows of a kernel [rows, sums.length] to the sums. Zeros, which ReLU leaves
  // often, are passed over.
  function multiplied(x, from, count, kernel, row, sums) {
    const columns = sums.length;
    for (let place = 0; place < count; place++) {
      const value = x[from + place];
      if (value === 0) continue;
      const start = (row + place) * columns;
      for (let column = 0; column < columns; column++) sums[column] += value * kernel[start + column];
    }
    return sums;
  }

  function multiply(step, [x]) {
    const sums = Float64Array.from(step.bias);
    return Float32Array.from(multiplied(x.values, 0, x.values.length, step.kernel, 0, sums));
  }

  function convolve(step, [x]) {
    const [height, width, channels] = x.shape;
    const [rows, columns, features] = step.shape;
    const values = new Float32Array(rows * columns * features);
    const sums = new Float64Array(features);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        sums.set(step.bias);
        for (let down = 0; down < step.size[0]; down++) {
          const y = row * step.stride[0] - step.padding[0][0] + down;
          if (y < 0 || y >= height) continue; // padding is 0
          for (let along = 0; along < step.size[1]; along++) {
            const z = column * step.stride[1] - step.padding[1][0] + along;
            if (z < 0 || z >= width) continue;
            const kernelRow = (down * step.size[1] + along) * channels;
            multiplied(x.values, (y * width + z) * channels, channels, step.kernel, kernelRow, sums);
          }
        }
        values.set(sums, (row * columns + column) * features);
      }
    }
    return values;
  }

  // What `join` makes of each window, one value after another; the windows lie inside the image.
  function pool(step, x, start, join) {
    const [, width, channels] = x.shape;
    const [rows, columns] = step.shape;
    const values = new Float32Array(rows * columns * channels);
    for (let index = 0; index < values.length; index++) {
      const channel = index % channels;
      const column = Math.floor(index / channels) % columns;
      const row = Math.floor(index / channels / columns);
      let joined = start;
      for (let down = 0; down < step.size[0]; down++) {
        for (let along = 0; along < step.size[1]; along++) {
          const cell = (row * step.stride[0] + down) * width + column * step.stride[1] + along;
          joined = join(joined, x.values[cell * channels + channel]);
        }
      }
      values[index] = joined;
    }
    return values;
  }

  function channelMeans(step, [x]) {
    const channels = step.shape[0];
    const sums = new Float64Array(channels);
    x.values.forEach((value, index) => (sums[index % channels] += value));
    return Float32Array.from(sums, (sum) => (sum * channels) / x.values.length);
  }

  function permute(step, [x]) {
    const channels = x.shape[2];
    const cell = (index) => step.order[Math.floor(index / channels)];
    return x.values.map((value, index) => x.values[cell(index) * channels + (index % channels)]);
  }

  function moved(step, x) {
    const [height, width, channels] = x.shape;
    const [rows, columns] = step.shape;
    const values = new Float32Array(rows * columns * channels);
    for (let row = 0; row < height; row++) {
      const from = row * width * channels;
      const to = ((row + step.padding[0][0]) * columns + step.padding[1][0]) * channels;
      values.set(x.values.subarray(from, from + width * channels), to);
    }
    return values;
  }

  // Each channel less its mean, divided by its deviation, times its scale, plus its bias.
  function scaled(step, x, moments, epsilon) {
    const [means, variances] = moments();
    const channels = x.shape[x.shape.length - 1];
    const factors = Array.from(variances, (variance, channel) => step.scale[channel] / Math.sqrt(variance + epsilon));
    return x.values.map((value, index) => {
      const channel = index % channels;
      return (value - means[channel]) * factors[channel] + step.bias[channel];
    });
  }

  // Mean and variance of each channel's group, over the whole image.
  function groupMoments(step, x) {
    const channels = x.shape[x.shape.length - 1];
    const size = channels / step.groups;
    const cells = x.values.length / step.groups;
    const group = (index) => Math.floor((index % channels) / size);
    const means = new Float64Array(step.groups);
    const variances = new Float64Array(step.groups);
    x.values.forEach((value, index) => (means[group(index)] += value / cells));
    x.values.forEach((value, index) => (variances[group(index)] += (value - means[group(index)]) ** 2 / cells));
    const ofChannels = (moments) => Float64Array.from({ length: channels }, (_, channel) => moments[group(channel)]);
    return [ofChannels(means), ofChannels(variances)];
  }

  // The sum that makes one cell of a convolution: for each channel of its input the segment under the filter, the
  // filter and their products, as matrices in reading order; then the sum of all products, and with the bias the value.
  function dotProduct(network, layers, name, row, column, feature) {
    const step = network.byName.get(name);
    const input = layers.get(step.inputs[0]);
    const [height, width, channels] = input.shape;
    const corner = [row * step.stride[0] - step.padding[0][0], column * step.stride[1] - step.padding[1][0]];
    const matrices = Array.from({ length: channels }, (_, channel) => {
      const segment = [];
      const filter = [];
      for (let cell = 0; cell < step.size[0] * step.size[1]; cell++) {
        const y = corner[0] + Math.floor(cell / step.size[1]);
        const z = corner[1] + (cell % step.size[1]);
        const inside = y >= 0 && y < height && z >= 0 && z < width;
        segment.push(inside ? input.values[(y * width + z) * channels + channel] : 0);
        filter.push(step.kernel[(cell * channels + channel) * step.shape[2] + feature]);
      }
      const products = segment.map((value, cell) => value * filter[cell]);
      return { channel, segment, filter, products, sum: products.reduce((sum, product) => sum + product, 0) };
    });
    const sum = matrices.reduce((total, matrix) => total + matrix.sum, 0);
    const bias = step.bias[feature];
    const sizes = [height, width];
    const beyond = corner.some((first, axis) => first < 0 || first + step.size[axis] > sizes[axis]);
    return { input: step.inputs[0], corner, size: step.size, beyond, matrices, sum, bias, value: sum + bias };
  }

  return { decode, run, dotProduct, fromBase64 };
})();
